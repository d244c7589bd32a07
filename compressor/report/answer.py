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
    tests = {name: _with_floor(test, results) for name, test in results["hypothesis"].items()}
    size, accuracy, time = (tests[name] for name in ("size", "accuracy", "prediction_time"))
    paragraphs = [
        _paragraph("size", size, _size_verdict, _sizes(results)),
        _paragraph("accuracy", accuracy, _no_relation_verdict, _accuracies(results)),
        _paragraph("prediction_time", time, _no_relation_verdict, _times(results)),
        _method(tests),
    ]
    return "\n".join(paragraph for paragraph in paragraphs if paragraph)


def _paragraph(
    name: str,
    test: Mapping[str, Any],
    verdict: Callable[[Mapping[str, Any]], str],
    numbers: str,
) -> str:
    title, claim = name.replace("_", " ").capitalize(), paper_results.CLAIMS[name]
    return (
        f"**{title}.** The paper: “{claim}”. Here: {_statistics(test)}. {numbers} "
        f"{_no_verdict(test) or verdict(test)}\n"
    )


def _statistics(test: Mapping[str, Any]) -> str:
    if test["rho"] is None:
        return f"rho cannot be computed: {test['reason']} (n = {test['n']})"
    text = f"rho = {form.signed(test['rho'])}, {form.p_value(test['p_value'])}, "
    interval = test["confidence_interval"]
    if interval is None:
        text += test["reason"] or "no interval"
    else:
        low, high = (form.signed(end) for end in interval)
        text += f"{100 * test['confidence']:g} % confidence interval {low} to {high}"
    return f"{text}, n = {test['n']}"


def _significant(test: Mapping[str, Any]) -> bool:
    return bool(test["p_value"] < 1 - test["confidence"])


def _with_floor(test: Mapping[str, Any], results: Results) -> dict[str, Any]:
    """`test` and the smallest p-value that as many rows can have: that of a perfect order."""
    grouped = by_sparsity(results)
    seeds = max(len(rows) for rows in grouped.values())
    return {**test, "floor": 2 / math.factorial(min(len(grouped), 20)) ** seeds}


def _no_verdict(test: Mapping[str, Any]) -> str:
    """Why there can be no verdict; empty where there can."""
    if test["rho"] is None:
        return "**This says nothing about the hypothesis.**"
    if test["floor"] < 1 - test["confidence"]:
        return ""
    return (
        "**There are too few rows for a verdict**: even a perfect order has "
        f"{form.p_value(test['floor'])}."
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


def means_of(results: Results, value: Callable[[Mapping[str, Any]], float]) -> dict[float, float]:
    """The mean over the seeds of `value` of each row of results["proportions"], by sparsity."""
    return {
        sparsity: form.mean([value(row) for row in rows])
        for sparsity, rows in by_sparsity(results).items()
    }


def _ends(means: dict[float, float], text: Callable[[float], str]) -> str:
    first, last = next(iter(means)), list(means)[-1]
    return (
        f"from {text(means[first])} at {form.proportion(first)} "
        f"to {text(means[last])} at {form.proportion(last)}"
    )


def _sizes(results: Results) -> str:
    means = means_of(results, lambda row: float(row["sparse"]["bytes"]))
    dense = form.mean([found["checkpoint_bytes"] for found in results["dense"]])
    weights = form.mean([found["weights_bytes"] for found in results["dense"]])
    return (
        f"The sparse file goes {_ends(means, lambda size: f'{form.mib(size)} MiB')}. It is "
        f"{where_smaller(means, dense)} than the dense checkpoint ({form.mib(dense)} MiB), and "
        f"{where_smaller(means, weights)} than the float32 weights alone "
        f"({form.mib(weights)} MiB)."
    )


def where_smaller(means: Mapping[float, float], baseline: float, word: str = "smaller") -> str:
    """Where the number is below `baseline`: "from 50 % on smaller", say."""
    smaller = [size < baseline for size in means.values()]
    if not any(smaller):
        return f"nowhere {word}"
    if all(smaller):
        return f"everywhere {word}"
    named = [form.proportion(s) for s, below in zip(means, smaller, strict=True) if below]
    if smaller == sorted(smaller):
        return f"from {named[0]} on {word}"
    return f"at {', '.join(named)} only {word}"


def _accuracies(results: Results) -> str:
    means = means_of(results, lambda row: float(row["sparse"]["accuracy"]))
    dense = form.mean([found["accuracy"] for found in results["dense"]])
    points = 100 * (max(means.values()) - min(means.values()))
    return (
        f"The accuracy goes {_ends(means, lambda a: f'{form.percent(a)} %')}, "
        f"{points:.2f} percentage points between the best and the worst proportion; "
        f"the dense model has {form.percent(dense)} %."
    )


def _times(results: Results) -> str:
    means = means_of(
        results, lambda row: float(row["sparse"]["prediction_time"]["total_ms"]["p50"])
    )
    dense = form.mean([found["prediction_time"]["total_ms"]["p50"] for found in results["dense"]])
    low, high = (form.milliseconds(end(means.values())) for end in (min, max))
    return (
        f"The median goes {_ends(means, lambda t: f'{form.milliseconds(t)} ms')}, and lies "
        f"between {low} and {high} ms; the dense model takes {form.milliseconds(dense)} ms."
    )


def _method(tests: Mapping[str, Any]) -> str:
    methods = list(
        dict.fromkeys(test["method"] for test in tests.values() if test["rho"] is not None)
    )
    if not methods:
        return ""
    return (
        f"Method: {'; or '.join(methods)}. The three p-values are not corrected for each other.\n"
    )
