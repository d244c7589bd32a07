"""The answer to the paper's hypothesis, in words, from the results' own numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from compressor.experiment import paper_results
from compressor.report import formatting as form
from compressor.runs import Results, by_sparsity


def hypothesis_text(results: Results) -> str:
    """Three paragraphs of Markdown: size, accuracy and prediction time against sparsity.

    Each gives what the paper claimed, rho with its p-value and interval, what the numbers
    did, and whether that agrees. "No significant relation" is said where p is at least
    1 - confidence; it is never turned into a proof that there is none. No verdict is given
    where not even a perfect order of as many rows could reach that.
    """
    grouped = by_sparsity(results)
    seeds = max(len(rows) for rows in grouped.values())
    # The smallest p-value that as many rows can have: that of a perfect order.
    floor = 2 / math.factorial(min(len(grouped), 20)) ** seeds
    tests = results["hypothesis"]
    paragraphs = []
    for name, verdict, numbers in (
        ("size", _size_verdict, _sizes),
        ("accuracy", _no_relation_verdict, _accuracies),
        ("prediction_time", _no_relation_verdict, _times),
    ):
        test, claim = tests[name], paper_results.CLAIMS[name]
        paragraphs.append(
            f"**{name.replace('_', ' ').capitalize()}.** The paper: “{claim}”. "
            f"Here: {_statistics(test)}. {numbers(results)} "
            f"{_no_verdict(test, floor) or verdict(test)}\n"
        )
    methods = dict.fromkeys(test["method"] for test in tests.values() if test["rho"] is not None)
    if methods:
        method = f"Method: {'; or '.join(methods)}."
        paragraphs.append(f"{method} The three p-values are not corrected for each other.\n")
    return "\n".join(paragraphs)


def _statistics(test: Mapping[str, Any]) -> str:
    if test["rho"] is None:
        return f"rho cannot be computed: {test['reason']} (n = {test['n']})"
    interval = test["reason"] or "no interval"
    if test["confidence_interval"] is not None:
        low, high = map(form.signed, test["confidence_interval"])
        interval = f"{100 * test['confidence']:g} % confidence interval {low} to {high}"
    rho, p = form.signed(test["rho"]), form.p_value(test["p_value"])
    return f"rho = {rho}, {p}, {interval}, n = {test['n']}"


def _significant(test: Mapping[str, Any]) -> bool:
    return bool(test["p_value"] < 1 - test["confidence"])


def _no_verdict(test: Mapping[str, Any], floor: float) -> str:
    """Why there can be no verdict; empty where there can."""
    if test["rho"] is None:
        return "**This says nothing about the hypothesis.**"
    if floor < 1 - test["confidence"]:
        return ""
    return (
        f"**There are too few rows for a verdict**: even a perfect order has {form.p_value(floor)}."
    )


def _size_verdict(test: Mapping[str, Any]) -> str:
    if not _significant(test):
        return (
            "**These rows do not show the relation that the paper claims** "
            f"({form.p_value(test['p_value'])}); more proportions or seeds could."
        )
    if test["rho"] < 0:
        return (
            "A negative rho between proportion and size means: the larger the proportion, the "
            "smaller the file, which is a positive relation with compression. "
            "**This agrees with the paper.**"
        )
    return (
        "A positive rho between proportion and size means: the larger the proportion, the "
        "larger the file. **This contradicts the paper.**"
    )


def _no_relation_verdict(test: Mapping[str, Any]) -> str:
    if _significant(test) and test["rho"] < 0:
        return (
            "It falls as the proportion rises: **there is a relation, a negative one**. The "
            "paper's words (no “positive” relation) hold; its hypothesis (no correlation) does not."
        )
    if _significant(test):
        return (
            "It rises as the proportion rises: **there is a positive relation. "
            "This contradicts the paper.**"
        )
    text = "**No significant relation, which agrees with the paper**, but is no proof of none"
    interval = test["confidence_interval"]
    if interval is not None:
        low, high = (form.signed(end, 2) for end in interval)
        text += f": anything from rho = {low} to {high} is compatible with these {test['n']} rows"
    return f"{text}."


def dense_mean(results: Results, key: str) -> float:
    """The mean over the seeds of `key` of the dense models."""
    return form.mean([found[key] for found in results["dense"]])


def means_of(results: Results, value: Callable[[Mapping[str, Any]], float]) -> dict[float, float]:
    """The mean over the seeds of `value` of each row of results["proportions"], by sparsity."""
    return {
        sparsity: form.mean([value(row) for row in rows])
        for sparsity, rows in by_sparsity(results).items()
    }


def total_ms(record: Mapping[str, Any], percentile: str) -> float:
    """p50, p90 or p99 of the time of all batches together, of a dense or a sparse record."""
    return float(record["prediction_time"]["total_ms"][percentile])


def _ends(means: dict[float, float], text: Callable[[float], str]) -> str:
    first, last = next(iter(means)), list(means)[-1]
    return (
        f"from {text(means[first])} at {form.proportion(first)} "
        f"to {text(means[last])} at {form.proportion(last)}"
    )


def _sizes(results: Results) -> str:
    means = means_of(results, lambda row: float(row["sparse"]["bytes"]))
    dense, weights = (dense_mean(results, f"{name}_bytes") for name in ("checkpoint", "weights"))
    return (
        f"The sparse file goes {_ends(means, lambda size: f'{form.mib(size)} MiB')}. It is "
        f"{where_smaller(means, dense)} than the dense checkpoint ({form.mib(dense)} MiB), and "
        f"{where_smaller(means, weights)} than the float32 weights alone "
        f"({form.mib(weights)} MiB)."
    )


def where_smaller(means: Mapping[float, float], baseline: float, word: str = "smaller") -> str:
    """Where the number is below `baseline`: "from 50 % on smaller", say."""
    below = [s for s, size in means.items() if size < baseline]
    named = [form.proportion(s) for s in below]
    if not named:
        return f"nowhere {word}"
    if len(named) == len(means):
        return f"everywhere {word}"
    if below == list(means)[-len(below) :]:
        return f"from {named[0]} on {word}"
    return f"at {', '.join(named)} only {word}"


def _accuracies(results: Results) -> str:
    means = means_of(results, lambda row: float(row["sparse"]["accuracy"]))
    dense = dense_mean(results, "accuracy")
    points = 100 * (max(means.values()) - min(means.values()))
    return (
        f"The accuracy goes {_ends(means, lambda a: f'{form.percent(a)} %')}, "
        f"{points:.2f} percentage points between the best and the worst proportion; "
        f"the dense model has {form.percent(dense)} %."
    )


def _times(results: Results) -> str:
    means = means_of(results, lambda row: total_ms(row["sparse"], "p50"))
    dense = form.mean([total_ms(found, "p50") for found in results["dense"]])
    low, high = (form.milliseconds(end(means.values())) for end in (min, max))
    return (
        f"The median goes {_ends(means, lambda t: f'{form.milliseconds(t)} ms')}, and lies "
        f"between {low} and {high} ms; the dense model takes {form.milliseconds(dense)} ms."
    )
