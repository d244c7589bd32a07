"""What was done in a sentence, and the few numbers that matter."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from compressor.exporters import tolerance
from compressor.report import formatting as form
from compressor.report.answer import dense_mean
from compressor.report.artefacts import FORMATS
from compressor.report.content import Fact, Facts
from compressor.report.metrics import (
    beside_model,
    change,
    deciding,
    heads_in,
    is_known,
    title_of,
)
from compressor.report.run_contents import RunContents
from compressor.report.search_section import search_lead
from compressor.report.trade_offs import setting_text
from compressor.runs import (
    Results,
    bound_names,
    by_sparsity,
    fastest,
    is_sound,
    median_ms,
    newest_run,
    rows_with,
)
from deploy.tasks import Head, losses, part_key, read_heads

_ROUNDED: Any = "int8"
"""What an artefact may lose of dense, on validation data, to be called the best: as much as the
parity check allows this quantisation."""


class _Choice(NamedTuple):
    name: str
    size: float
    heads: tuple[Head, ...]
    values: Mapping[str, float | None]
    """as in a document: of the test examples to report, of validation examples to choose"""

    @classmethod
    def of(cls, name: str, size: float, accuracy: float, validation: float | None) -> _Choice:
        """That of a classifier."""
        values = {"accuracy": accuracy, "validation_accuracy": validation}
        return cls(name, size, read_heads(None), values)


def title(contents: RunContents) -> str:
    if contents.search is not None and contents.results is None:
        return f"Search for a smaller network: {form.short(contents.name)}"
    if contents.results is None:
        return f"Pruning a network: {form.short(contents.name)}"
    return "Pruning proportion against size, accuracy and prediction time"


def lead(contents: RunContents) -> str:
    """What was done, in a sentence or two."""
    if contents.results is not None:
        return _sweep_lead(contents.results)
    if contents.search is not None:
        return search_lead(contents.search)
    steps = {
        "step_1": "trained",
        "step_2_1": "pruned",
        "step_2_2": "pruned and retrained",
        "step_3": "stored sparse",
    }
    done = [word for step, word in steps.items() if step in contents.records]
    if "pruned and retrained" in done and "pruned" in done:
        done.remove("pruned")
    text = f"A model, {', '.join(done)}." if done else "Artefacts that were measured."
    sparsity = next(
        (r["sparsity"] for r in contents.records.values() if form.is_fraction(r.get("sparsity"))),
        None,
    )
    if sparsity is not None:
        text = f"{text[:-1]}; pruned by {form.proportion(sparsity)}."
    return text


def _sweep_lead(results: Results) -> str:
    experiment = results["experiment"]
    proportions = ", ".join(form.proportion(sparsity) for sparsity in by_sparsity(results))
    seeds = len(experiment["seeds"])
    return (
        f"A model of {form.count(results['dense'][0]['parameters'])} parameters, trained on "
        f"{form.short(experiment['data']['name'])}, with "
        f"{form.short(', '.join(experiment['layers']), 120)} pruned at {proportions}, retrained, "
        f"and stored sparse; {seeds} seed{'s' if seeds > 1 else ''}. "
        "All numbers are in results.json, and one row a seed and proportion in results.csv."
    )


def headline(contents: RunContents) -> Facts:
    """The few numbers that matter, as far as they are known."""
    facts = []
    if (dense := _dense(contents)) is not None:
        note = beside_model(dense.heads, dense.values)
        facts.append(Fact(form.size(dense.size), "dense, in float32", note))
        if (best := _best(contents, dense)) is not None:
            times, less = form.times_less(dense.size, best.size, "smaller", "larger")
            facts += [
                Fact(f"{times}×", less, f"{form.size(best.size)}: {best.name}"),
                Fact(
                    deciding(best.heads, best.values),
                    f"{title_of([{'heads': [head.describe() for head in best.heads]}])} of that "
                    "file",
                    f"{change(best.heads, dense.values, best.values)} against dense, on the test "
                    "images",
                ),
            ]
    elif contents.after:
        facts += _left(contents)
    return Facts([*facts, *_speed(contents)])


def _dense(contents: RunContents) -> _Choice | None:
    if (results := contents.results) is not None:
        size = dense_mean(results, "weights_bytes")
        validation = dense_mean(results, "validation_accuracy")
        return _Choice.of("dense", size, dense_mean(results, "accuracy"), validation)
    if contents.before is None:
        return None
    record = contents.records.get("step_1", contents.records.get("dense", {}))
    heads = heads_in(record)
    keys = [part_key(head.key(), part) for head in heads for part in ("", "validation_")]
    values = {key: value for key in keys if _is_number(value := record.get(key))}
    if not is_known(heads, values):
        return None
    return _Choice("dense", 4.0 * contents.before.parameters, heads, values)


def _choices(contents: RunContents) -> Iterator[_Choice]:
    if contents.results is not None:
        for sparsity, rows in by_sparsity(contents.results).items():
            yield from _exported(rows, form.proportion(sparsity))
        yield from _exported(contents.results["dense"], "dense")
    for item in filter(operator.attrgetter("current"), contents.artefacts):
        heads, values = item.artifact.tasks, item.values() | item.values("validation_")
        if is_known(heads, values):
            yield _Choice(form.short(item.file), item.artifact.bytes, heads, values)


def _exported(rows: list[dict[str, Any]], name: str) -> Iterator[_Choice]:
    """The artefacts of a proportion, each the mean over the seeds that have it."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        for artefact in row.get("artefacts", ()):
            found.setdefault(artefact["file"], []).append(artefact)
    for artefacts in found.values():
        kind = FORMATS[artefacts[0]["format"]]
        pruned = f"{name} pruned, {kind} {artefacts[0]['quantize']}"
        yield _Choice.of(
            f"dense, {kind}" if name == "dense" else pruned,
            form.mean([artefact["bytes"] for artefact in artefacts]),
            form.mean([artefact["accuracy"] for artefact in artefacts]),
            _mean_known([artefact.get("validation_accuracy") for artefact in artefacts]),
        )


def _mean_known(values: list[float | None]) -> float | None:
    """The mean; None where one is not known."""
    known = [value for value in values if value is not None]
    return form.mean(known) if len(known) == len(values) else None


def _best(contents: RunContents, dense: _Choice) -> _Choice | None:
    """The smallest artefact that is no larger than dense and holds its validation accuracy.

    Where nothing was exported: the smallest encoding of a retrained model that does.
    """

    def smallest(choices: Iterable[_Choice]) -> _Choice | None:
        held = [choice for choice in choices if choice.size <= dense.size and holds(choice)]
        return min(held, key=lambda choice: choice.size, default=None)

    def holds(choice: _Choice) -> bool:
        lost = losses(dense.heads, dense.values, choice.values, "validation_")
        return len(lost) == len(dense.heads) and all(
            lost[head.key()] <= tolerance(head, _ROUNDED) + 1e-9 for head in dense.heads
        )

    found = smallest(_choices(contents))
    if found is None and contents.results is not None:
        return smallest(_encoded(contents.results))
    return found


def _encoded(results: Results) -> Iterator[_Choice]:
    bounds = bound_names(results)
    for sparsity, rows in by_sparsity(results).items():
        for name in rows[0]["encodings"]:
            sizes = [row["encodings"][name] for row in rows if row["encodings"].get(name)]
            if name not in bounds and sizes:
                yield _Choice.of(
                    f"{form.proportion(sparsity)} pruned, {form.short(name)}",
                    form.mean(sizes),
                    form.mean([row["retrained"]["accuracy"] for row in rows]),
                    form.mean([row["retrained"]["validation_accuracy"] for row in rows]),
                )


def _is_number(value: Any) -> bool:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return known and abs(value) < 1e300


def _left(contents: RunContents) -> list[Fact]:
    last = contents.after[-1]
    facts = [Fact(form.count(last.nonzeros), "parameters that are not zero", last.title)]
    found = (contents.records.get(step, {}).get("accuracy") for step in ("step_2_2", "step_2_1"))
    if (accuracy := next(filter(form.is_fraction, found), None)) is not None:
        facts.append(Fact(f"{form.percent(accuracy)} %", "accuracy", "on the test images"))
    return facts


def _speed(contents: RunContents) -> list[Fact]:
    run = newest_run(contents.bench) if contents.bench else None
    found = fastest(run) if run else None
    if run is None or found is None or median_ms(found) is None:
        return []
    name = form.short(run["artefacts"][found["artefact"]]["name"])
    where = f"{name} in {found['runtime']}, {setting_text(found['threads'], found['batch'])}"
    ratio = found.get("ratio")
    time = f"{form.latency(median_ms(found) or 0.0)} ms"
    first = rows_with(run, (found["threads"], found["batch"]))[0]
    if ratio is None or first is found or not is_sound(first):
        return [Fact(time, "a batch, the fastest", where)]
    before = form.short(run["artefacts"][first["artefact"]]["name"])
    times, less = form.times_less(1, ratio["value"], "faster", "slower")
    against = f"{time}: {where}, against {before} in {first['runtime']}"
    return [Fact(f"{times}×", less, against)]
