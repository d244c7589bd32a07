"""A search in the report: what it found, what it tried, and how to make it again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from compressor.report import formatting as form, plotting as plot
from compressor.report.chosen import chosen_trials, recommended_rows
from compressor.report.content import (
    Block,
    Details,
    Fact,
    Facts,
    Figure,
    Figures,
    Heading,
    Mark,
    Section,
    Table,
    Text,
)
from compressor.report.figures import zoom
from compressor.report.trade_offs import Point, size_figure
from compressor.searching.recipe import RECIPE_SUFFIX

Search = Mapping[str, Any]
_MOST_TRIALS = 200
_KINDS = {
    "narrow": "narrowed",
    "train": "trained",
    "sparse": "pruned while trained",
    "prune": "pruned",
}


def search_lead(search: Search) -> str:
    """What was searched for, in a sentence."""
    goal = search["goal"]
    text = (
        f"A search for the {'fastest' if goal.get('minimize') == 'latency' else 'smallest'} "
        f"artefact with {form.percent(search['wanted_accuracy'])} % accuracy, "
        f"{len(search['trials'])} trials"
    )
    return text + (". It is not finished." if search["state"] == "searching" else ".")


def search_facts(search: Search) -> Facts:
    """The artefacts that are recommended, in numbers."""
    facts = []
    for row in recommended_rows(search):
        runtime, dense = form.short(row["runtime"]), search["runtimes"].get(row["runtime"])
        if dense is None:
            continue
        times, less = form.times_less(dense["bytes"], max(row["bytes"], 1), "smaller", "larger")
        note = f"{times} times {less} than dense"
        if row["accuracy"] is not None:
            note += f"; {form.percent(row['accuracy'])} % of the test examples, which chose nothing"
        facts.append(Fact(form.size(row["bytes"]), f"for {runtime}", note))
        if row["ratio"] > 0:
            times, less = form.times_less(1, row["ratio"], "faster", "slower")
            note = (
                f"{form.latency(row['latency_ms'])} ms, dense {form.latency(dense['latency_ms'])}"
            )
            facts.append(Fact(f"{times}×", f"{less} in {runtime}", note))
    return Facts(facts)


def search_sections(search: Search) -> Iterator[Section]:
    """The front, the trials and the recipe."""
    yield Section("front", "The front", list(_front(search)))
    yield Section("trials", "What was tried", list(_trials(search)))
    yield Section("recipe", "The chosen structure, and its recipe", list(_recipe(search)))


def _front(search: Search) -> Iterator[Block]:
    rows = search["front"]
    if not rows:
        reason = "not written yet" if search["state"] == "searching" else "none passed its check"
        yield Text(f"There are no artefacts: they are {reason}.")
    else:
        for runtime, reason in search["reasons"].items():
            if runtime in search["recommended"]:
                file = form.short(search["recommended"][runtime], 120)
                yield Text(
                    f"Recommended for {form.short(runtime)}: {file}, {form.short(reason, 400)}."
                )
        points = [_point(row) for row in rows if row["bytes"]]
        yield Figures([size_figure(points, "search_front")])
        yield _front_table(search)
    for row in search["failed"]:
        yield Text(f"An export failed: {form.short(row['error'], 400)}.")


def _point(row: Mapping[str, Any]) -> Point:
    name = f"{form.count(row['nonzeros'])} weights, {form.short(row['quantize'])}"
    return Point(name, row["runtime"], row["bytes"], row["validation_accuracy"], True)


def _front_table(search: Search) -> Table:
    chosen = search["recommended"].values()
    rows, marks = [], dict[int, Mark]()
    for runtime, dense in search["runtimes"].items():
        words = [form.short(runtime), "the model, dense", "none", form.count(dense["bytes"])]
        accuracy = form.percent(search["dense"]["validation_accuracy"])
        rows.append([*words, form.latency(dense["latency_ms"]), "1.00", accuracy, form.NOTHING])
        for row in (row for row in search["front"] if row["runtime"] == runtime):
            if row["file"] in chosen:
                marks[len(rows)] = "best"
            rows.append(
                [
                    form.short(runtime),
                    form.short(row["file"], 80),
                    form.short(row["quantize"]),
                    form.count(row["bytes"]),
                    form.latency(row["latency_ms"]),
                    form.times(1 / max(row["ratio"], 1e-9)),
                    form.percent(row["validation_accuracy"]),
                    form.known(row["accuracy"], form.percent),
                ]
            )
    header = ["runtime", "artefact", "quantised", "bytes", "ms", "times faster"]
    note = (
        "No other artefact of its runtime beats one of these in bytes, latency and accuracy. "
        "Accuracy is judged on the validation examples; the test examples chose nothing."
    )
    return Table([*header, "validation (%)", "test (%)"], rows, left=3, note=note, marks=marks)


def _trials(search: Search) -> Iterator[Block]:
    trials = search["trials"]
    done = [t for t in trials if "error" not in t and t.get("nonzeros")]
    if done:
        yield Figures([_trials_figure(search, done)])
    if trials:
        more = f" The first {_MOST_TRIALS} are shown." if len(trials) > _MOST_TRIALS else ""
        floor = form.percent(search["accepted_accuracy"])
        rows = [_trial_row(search, n, t) for n, t in enumerate(trials[:_MOST_TRIALS], 1)]
        header = ["trial", "how it was made", "what became of it"]
        note = f"Accepted: {floor} % of the validation examples.{more}"
        numbers = ["weights not zero", "validation (%)", "seconds"]
        yield Details("Every trial", [Table([*header, *numbers], rows, left=3, note=note)])


def _trial_row(search: Search, number: int, trial: Mapping[str, Any]) -> list[str]:
    steps = [_KINDS.get(step["kind"], form.short(step["kind"])) for step in trial["steps"]]
    accuracy, nonzeros = trial.get("validation_accuracy"), trial.get("nonzeros")
    return [
        f"{number}: {form.short(trial['trial'])}",
        ", ".join(steps[:8]),
        _outcome(search, trial),
        form.known(nonzeros),
        form.known(accuracy, form.percent),
        f"{trial['seconds']:.1f}",
    ]


def _outcome(search: Search, trial: Mapping[str, Any]) -> str:
    if "error" in trial:
        return f"failed: {form.short(trial['error'], 300)}"
    files = [row for row in search["front"] if row["trial"] == trial["trial"]]
    if any(row["file"] in search["recommended"].values() for row in files):
        return "recommended"
    if files:
        return "on the front"
    if trial.get("validation_accuracy", 0.0) < search["accepted_accuracy"]:
        return "dropped: its accuracy is too low"
    return "kept the accuracy; others are better"


def _trials_figure(search: Search, done: list[Mapping[str, Any]]) -> Figure:
    floor = search["accepted_accuracy"]
    held = sum(trial.get("validation_accuracy", 0.0) >= floor for trial in done)
    return Figure(
        "search_trials",
        "Every trial: accuracy against the weights that are left",
        f"{held} of {len(done)} trials keep the accuracy that is accepted, "
        f"{form.percent(floor)} % (dashed). Later trials are darker.",
        partial(_draw_trials, search, done),
        wide=True,
    )


def _draw_trials(search: Search, done: list[Mapping[str, Any]]) -> Any:
    figure, axes = plot.new_figure(height=3.0)
    floor = 100 * search["accepted_accuracy"]
    x = [trial["nonzeros"] for trial in done]
    y = [100 * trial.get("validation_accuracy", 0.0) for trial in done]
    low, high = zoom(min(*y, floor), max(*y, floor))
    for number, (count, accuracy) in enumerate(zip(x, y, strict=True), 1):
        look = {"color": plot.SERIES[0] if accuracy >= floor else plot.MUTED}
        shade = 0.35 + 0.65 * number / len(done)
        axes.plot(count, accuracy, "o", alpha=shade, zorder=3, **look)
    axes.axhline(floor, color=plot.MUTED, lw=1.0, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xscale("log")
    axes.margins(x=0.1)
    plot.plain_log_axis(axes.xaxis, (1, 3) if max(x) / min(x) > 30 else (1, 2, 5))
    axes.set_ylim(low, high)
    axes.set_xlabel("weights that are not zero")
    axes.set_ylabel("validation accuracy (%)")
    return figure


def _recipe(search: Search) -> Iterator[Block]:
    trials = {trial["trial"]: trial for trial in search["trials"]}
    for name, title in chosen_trials(search):
        if name not in trials:
            continue
        yield Heading(f"{form.short(name)}, {form.short(title)}")
        yield _steps_table(trials[name])
    for row in recommended_rows(search):
        if row["trial"] in trials:
            recipe = f"artefacts/{form.short(row['file'], 120)}{RECIPE_SUFFIX}"
            yield Text(f"For {form.short(row['runtime'])}, again: compressor apply {recipe} MODEL")


def _sparsities(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a step prunes, and how much of it."""
    sparsity = step.get("sparsity", {})
    if isinstance(sparsity, Mapping):
        return [(name, f"{form.percent(part)} %") for name, part in sparsity.items()]
    if "granularity" in step:
        what = f"{form.short(step['granularity'])}s,"
        return [(what, f"{form.percent(sparsity)} % of all layers together")]
    return [("every layer", f"{form.percent(sparsity)} %")]


def _steps_table(trial: Mapping[str, Any]) -> Table:
    rows = []
    for number, step in enumerate(trial["steps"], 1):
        kind = _KINDS.get(step["kind"], form.short(step["kind"]))
        shown = [(n, form.count(w)) for n, w in step.get("widths", {}).items()]
        shown += _sparsities(step)
        values = ", ".join(f"{form.short(name)} {value}" for name, value in shown[:40])
        rows.append([str(number), kind, values or form.NOTHING, form.known(step.get("steps"))])
    note = "Narrowed: the channels that each set of coupled layers keeps; pruned: what goes."
    return Table(["step", "what", "layers", "training steps"], rows, left=3, note=note)
