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
from compressor.report.metrics import cell, deciding, heads_in, is_known, standard_errors, title_of
from compressor.report.trade_offs import Point, size_figure
from compressor.searching.recipe import RECIPE_SUFFIX
from deploy.tasks import ACCURACY, Head, part_key

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
        f"artefact with {_of_title(search, 'wanted_')}, {len(search['trials'])} trials"
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
        heads = heads_in(search)
        if is_known(heads, row):
            reached = f"{deciding(heads, row)} {_of_what(search)} test examples"
            note += f"; {reached}, which chose nothing"
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
        points = [_point(row, heads_in(search)[0]) for row in rows if row["bytes"]]
        yield Figures([size_figure(points, "search_front")])
        yield _front_table(search)
    for row in search["failed"]:
        yield Text(f"An export failed: {form.short(row['error'], 400)}.")


def _point(row: Mapping[str, Any], head: Head) -> Point:
    name = f"{form.count(row['nonzeros'])} weights, {form.short(row['quantize'])}"
    value = row.get(part_key(head.key(), "validation_"))
    return Point(name, row["runtime"], row["bytes"], value or 0.0, True, head.decides)


def _front_table(search: Search) -> Table:
    chosen = search["recommended"].values()
    rows, marks, heads = [], dict[int, Mark](), heads_in(search)
    for runtime, dense in search["runtimes"].items():
        words = [form.short(runtime), "the model, dense", "none", form.count(dense["bytes"])]
        values = [cell(heads, search["dense"], part) for part in ("validation_", "")]
        rows.append([*words, form.latency(dense["latency_ms"]), "1.00", *values])
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
                    cell(heads, row, "validation_"),
                    cell(heads, row),
                ]
            )
    header = ["runtime", "artefact", "quantised", "bytes", "ms", "times faster"]
    title = title_of([search]) if len(heads) == 1 else "what is asked of each output"
    note = (
        f"No other artefact of its runtime beats one of these in bytes, latency and {title}. "
        f"{title[:1].upper()}{title[1:]} is judged on the validation examples; the test examples "
        "chose nothing."
    )
    header += [f"{part}{_unit(search)}" for part in ("validation", "test")]
    return Table(header, rows, left=3, note=note, marks=marks)


def _trials(search: Search) -> Iterator[Block]:
    trials = search["trials"]
    done = [t for t in trials if "error" not in t and t.get("nonzeros")]
    if done:
        yield Figures([_trials_figure(search, done)])
    if trials:
        more = f" The first {_MOST_TRIALS} are shown." if len(trials) > _MOST_TRIALS else ""
        floor = deciding(heads_in(search), search, "accepted_")
        of = "of" if _in_percent(search) else "on"
        rows = [_trial_row(search, n, t) for n, t in enumerate(trials[:_MOST_TRIALS], 1)]
        header = ["trial", "how it was made", "what became of it"]
        error = standard_errors(heads_in(search), search)
        error = f" The standard error on so many is {error}." if error else ""
        note = f"Accepted: {floor} {of} the validation examples.{error}{more}"
        numbers = ["weights not zero", f"validation{_unit(search)}", "seconds"]
        yield Details("Every trial", [Table([*header, *numbers], rows, left=3, note=note)])


def _trial_row(search: Search, number: int, trial: Mapping[str, Any]) -> list[str]:
    steps = [_KINDS.get(step["kind"], form.short(step["kind"])) for step in trial["steps"]]
    return [
        f"{number}: {form.short(trial['trial'])}",
        ", ".join(steps[:8]),
        _outcome(search, trial),
        form.known(trial.get("nonzeros")),
        cell(heads_in(search), trial, "validation_"),
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
    heads = heads_in(search)
    for head in heads:
        if not _holds_of(head, search, trial):
            low = "low" if head.decides.higher_is_better else "high"
            return f"dropped: its {_title_of(head)} is too {low}"
    kept = f"the {title_of([search])}" if len(heads) == 1 else "what is asked of each output"
    return f"kept {kept}; others are better"


def _holds(search: Search, trial: Mapping[str, Any]) -> bool:
    """Whether the trial keeps to what is accepted, of each output."""
    return all(_holds_of(head, search, trial) for head in heads_in(search))


def _holds_of(head: Head, search: Search, trial: Mapping[str, Any]) -> bool:
    least, value = (
        one.get(part_key(head.key(), part))
        for one, part in ((search, "accepted_"), (trial, "validation_"))
    )
    return value is not None and (least is None or not head.decides.better(least, value))


def _trials_figure(search: Search, done: list[Mapping[str, Any]]) -> Figure:
    held = sum(_holds(search, trial) for trial in done)
    head, *others = heads_in(search)
    title, floor = _title_of(head), head.decides.text(search.get(part_key(head.key(), "accepted_")))
    kept = f"the {title} that is accepted, {floor} (dashed)"
    if others:
        kept = f"what is accepted of each output; dashed: the {title}, {floor}"
    return Figure(
        "search_trials",
        f"Every trial: {title} against the weights that are left",
        f"{held} of {len(done)} trials keep {kept}. Later trials are darker.",
        partial(_draw_trials, search, done),
        wide=True,
    )


def _draw_trials(search: Search, done: list[Mapping[str, Any]]) -> Any:
    figure, axes = plot.new_figure(height=3.0)
    head = heads_in(search)[0]
    scale = 100 if head.decides.fraction else 1
    floor = scale * (search.get(part_key(head.key(), "accepted_")) or 0.0)
    key = part_key(head.key(), "validation_")
    found = [trial for trial in done if trial.get(key) is not None]
    x = [trial["nonzeros"] for trial in found]
    y = [scale * trial[key] for trial in found]
    for number, trial in enumerate(found, 1):
        look = {"color": plot.SERIES[0] if _holds(search, trial) else plot.MUTED}
        shade = 0.35 + 0.65 * number / len(found)
        axes.plot(x[number - 1], y[number - 1], "o", alpha=shade, zorder=3, **look)
    axes.axhline(floor, color=plot.MUTED, lw=1.0, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xscale("log")
    axes.margins(x=0.1)
    if x:
        plot.plain_log_axis(axes.xaxis, (1, 3) if max(x) / min(x) > 30 else (1, 2, 5))
    if head.decides.fraction:
        axes.set_ylim(*zoom(min([*y, floor]), max([*y, floor])))
    axes.set_xlabel("weights that are not zero")
    axes.set_ylabel(f"validation {_title_of(head)}{' (%)' if scale > 1 else ''}")
    return figure


def _of_title(search: Search, part: str) -> str:
    """What is asked for: "99.00 % accuracy", "mean absolute error 0.2413", "kind 90.00 %, ..."."""
    value, title = deciding(heads_in(search), search, part), title_of([search])
    if len(heads_in(search)) > 1:
        return value
    return f"{value} {title}" if _in_percent(search) else f"{title} {value}"


def _of_what(search: Search) -> str:
    """Between a value and its examples: "of the", "mean IoU on the"."""
    if _in_percent(search):
        return "of the"
    return f"{title_of([search])} on the" if len(heads_in(search)) == 1 else "on the"


def _title_of(head: Head) -> str:
    return f"{head.decides.title} of {form.short(head.name)}" if head.name else head.decides.title


def _in_percent(search: Search) -> bool:
    """Whether this is a search over one classifier, whose accuracies are shown in percent."""
    return heads_in(search)[0].key() == ACCURACY


def _unit(search: Search) -> str:
    return " (%)" if _in_percent(search) else ""


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
