"""The tables of a sweep, for the report and the terminal.

Sizes are in MiB (2^20 bytes), accuracies in percent of the test images, times in ms. Over several
seeds a cell is the mean, with the range in parentheses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from compressor.experiment import paper_results
from compressor.report import formatting as form
from compressor.report.answer import dense_mean, total_ms
from compressor.report.content import Block, Heading, Table
from compressor.runs import Results, bound_names, by_sparsity, dense_of, encoding_names

_Rows = Sequence[Mapping[str, Any]]
_BASELINES = ("checkpoint", "weights")


def workload(results: Results) -> str:
    """What a prediction time is the time of: "10 batches of 32"."""
    time = results["dense"][0]["prediction_time"]
    return f"{time['batches']} batches of {time['batch_size']}"


def _seeds_note(results: Results) -> str:
    seeds = len(results["dense"])
    note = f"Mean over {seeds} seeds, with the range (smallest to largest) in parentheses."
    return note if seeds > 1 else ""


def paper_row(results: Results, sparsity: float) -> paper_results.PaperRow | None:
    """The paper's table at `sparsity` if this experiment pruned what the paper pruned.

    That is: w_fc1 and w_fc2 of the paper's shapes, nothing else, and a model with as many
    parameters. Only then do sizes compare; thresholds and counts compare layer by layer anyway.
    """
    models = {dense["parameters"] for dense in results["dense"]}
    layers = {
        (layer["paper_name"], tuple(layer["shape"]))
        for row in results["proportions"]
        for layer in row["layers"]
    }
    same = models == {paper_results.PARAMETERS} and layers == set(paper_results.SHAPES.items())
    return paper_results.row(sparsity) if same else None


def _paper_layer(layer: Mapping[str, Any], sparsity: float) -> tuple[str, str]:
    """The paper's threshold and weights kept of `layer` at `sparsity`; empty where it has none."""
    found, name = paper_results.row(sparsity), layer["paper_name"]
    if found is None or paper_results.SHAPES.get(name) != tuple(layer["shape"]):
        return "", ""
    return form.threshold(found.thresholds[name]), form.count(found.kept[name])


def proportion_tables(results: Results) -> list[Block]:
    """One table for each proportion, as the paper's Tables 4 to 9.

    "Before pruning" is the dense model, "after" the retrained and sparsified one. The paper's own
    numbers stand beside them where it pruned the same layers at that proportion.
    """
    parts: list[Block] = []
    for sparsity, rows in by_sparsity(results).items():
        printed = paper_results.row(sparsity)
        lines = [*_layer_lines(rows, sparsity), *_model_lines(results, rows, sparsity)]
        header = ["", "before pruning", "after pruning"]
        title = f"{form.proportion(sparsity)} pruned"
        if any(line[3] or line[4] for line in lines):
            assert printed is not None
            header += ["paper, before", "paper, after"]
            title += f" (the paper's Table {printed.table})"
        cells = [[cell or form.NOTHING for cell in line[: len(header)]] for line in lines]
        parts += [Heading(title), Table(header, cells, note=_seeds_note(results))]
    return parts


def _layer_lines(rows: _Rows, sparsity: float) -> list[list[str]]:
    """Rows of [name, before, after, paper before, paper after]: thresholds, then counts."""
    thresholds, counts = [], []
    for index, layer in enumerate(rows[0]["layers"]):
        name, total = _layer_name(layer), form.count(layer["parameters"])
        layers = [row["layers"][index] for row in rows]
        threshold = form.spread([found["threshold"] for found in layers], form.threshold)
        kept = form.spread([found["kept"] for found in layers], form.count)
        printed = _paper_layer(layer, sparsity)
        thresholds.append([f"threshold of {name}", "", threshold, "", printed[0]])
        counts.append([f"weights of {name}", total, kept, total if printed[1] else "", printed[1]])
    return thresholds + counts


def _layer_name(layer: Mapping[str, Any]) -> str:
    name, paper_name = layer["layer"], layer["paper_name"]
    return f"{name} ({paper_name})" if paper_name and paper_name != name else str(name)


def _model_lines(results: Results, rows: _Rows, sparsity: float) -> list[list[str]]:
    dense = dense_of(results, rows)
    sparse = [row["sparse"] for row in rows]
    printed = paper_row(results, sparsity)

    def line(
        name: str,
        value: Callable[[Mapping[str, Any]], float],
        text: Callable[[float], str],
        before: str = "",
        after: str = "",
    ) -> list[str]:
        cells = [form.spread([value(found) for found in side], text) for side in (dense, sparse)]
        return [name, *cells, before, after]

    p50, p90, p99 = (partial(total_ms, percentile=name) for name in ("p50", "p90", "p99"))
    return [
        line(
            "model size (MiB)",
            # A dense model's size is its checkpoint, as in the paper; a sparse one's is its file.
            lambda found: found["bytes"] if "bytes" in found else found["checkpoint_bytes"],
            form.mib,
            f"{paper_results.DENSE_MIB}" if printed else "",
            f"{printed.size_mib}" if printed else "",
        ),
        line(
            "accuracy (%)",
            lambda found: found["accuracy"],
            form.percent,
            after=printed.accuracy if printed else "",
        ),
        line(
            f"prediction time, {workload(results)} (ms, median)",
            p50,
            form.milliseconds,
            after=printed.prediction_time if printed else "",
        ),
        line("prediction time, 90th percentile (ms)", p90, form.milliseconds),
        line("prediction time, 99th percentile (ms)", p99, form.milliseconds),
    ]


_SUMMARY: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("weights kept", "weights\nkept", form.count),
    ("checkpoint (MiB)", "checkpoint\nMiB", form.mib),
    ("sparse (MiB)", "sparse\nMiB", form.mib),
    ("paper (MiB)", "paper\nMiB", str),
    ("accuracy dense (%)", "dense\n%", form.percent),
    ("pruned (%)", "pruned\n%", form.percent),
    ("retrained (%)", "retrained\n%", form.percent),
    ("sparse (%)", "sparse\n%", form.percent),
    ("prediction time (ms)", "time\nms", form.milliseconds),
)
"""(title on the page, title on a terminal, how values are shown) of each column."""


def _summary_lines(results: Results) -> list[tuple[str, list[Sequence[float]]]]:
    """(proportion, values of each of _SUMMARY) of the dense model and of every proportion."""
    dense, grouped = results["dense"], by_sparsity(results)
    comparable = any(paper_row(results, sparsity) for sparsity in grouped)
    cells: list[Sequence[float]] = [
        [sum(layer["parameters"] for layer in results["proportions"][0]["layers"])],
        [found["checkpoint_bytes"] for found in dense],
        [],
        [paper_results.DENSE_MIB] if comparable else [],
        [found["accuracy"] for found in dense],
        *([], [], []),
        [total_ms(found, "p50") for found in dense],
    ]
    lines = [("dense", cells)]
    for sparsity, rows in grouped.items():
        printed = paper_row(results, sparsity)
        cells = [
            [sum(layer["kept"] for layer in row["layers"]) for row in rows],
            [row["retrained"]["checkpoint_bytes"] for row in rows],
            [row["sparse"]["bytes"] for row in rows],
            [printed.size_mib] if printed else [],
            [found["accuracy"] for found in dense_of(results, rows)],
            *(
                [row[stage]["accuracy"] for row in rows]
                for stage in ("pruned", "retrained", "sparse")
            ),
            [total_ms(row["sparse"], "p50") for row in rows],
        ]
        lines.append((form.proportion(sparsity), cells))
    return lines


def summary_table(results: Results) -> Table:
    """A row for the dense model and for each proportion: kept, sizes, accuracies, time."""
    rows = [
        [name, *_shown(cells, form.spread, form.NOTHING)] for name, cells in _summary_lines(results)
    ]
    note = (
        f"Prediction time is the median of {workload(results)}; "
        f"weights kept are those of the pruned layers. {_seeds_note(results)}"
    )
    return Table(["pruned", *(title for title, _, _ in _SUMMARY)], rows, note=note.strip())


def _shown(
    cells: Sequence[Sequence[float]],
    found: Callable[[Sequence[float], Callable[[float], str]], str],
    nothing: str = "",
) -> list[str]:
    return [
        found(values, text) if values else nothing
        for values, (_, _, text) in zip(cells, _SUMMARY, strict=True)
    ]


def summary_text(results: Results) -> str:
    """The summary table in aligned columns for a terminal, at most 100 wide.

    Over several seeds a row is the mean; two more show the least and the most where they differ.
    """
    several = len(results["dense"]) > 1
    rows = []
    for name, cells in _summary_lines(results):
        rows.append([name, *_shown(cells, lambda values, text: text(form.mean(values)), "-")])
        if several:
            lowest = _shown(cells, lambda values, text: text(min(values)))
            highest = _shown(cells, lambda values, text: text(max(values)))
            for label, ends in (("  least", lowest), ("  most", highest)):
                pairs = zip(ends, lowest, highest, strict=True)
                rows.append([label, *(end if low != high else "" for end, low, high in pairs)])
    table = form.text_table(["pruned", *(title for _, title, _ in _SUMMARY)], rows)
    note = f"dense to sparse: accuracy on the test images; time: median of {workload(results)}\n"
    if inputs := results["dense"][0].get("inputs"):
        note += f"fed: {form.fed(inputs)}\n"
    if several:
        note += f"each row: mean of {len(results['dense'])} seeds, then the least and the most\n"
    return table + note


def encoding_tables(results: Results) -> list[Block]:
    """Two tables: bytes of the model in every encoding, and where each breaks even.

    The first shows the mean over the seeds, in bytes. The second gives the sparsity at
    which an encoding is no larger than the baseline, computed and measured.
    """
    names = encoding_names(results)
    rows = []
    for sparsity, found in by_sparsity(results).items():
        cells = []
        for name in names:
            sizes = [row["encodings"][name] for row in found if name in row["encodings"]]
            cells.append(form.count(form.mean(sizes)) if sizes else form.NOTHING)
        rows.append([form.proportion(sparsity), *cells])
    bounds = bound_names(results)
    header = ["pruned", *(f"{name} (bound)" if name in bounds else name for name in names)]
    dense = results["dense"]
    checkpoint, weights = (form.count(dense_mean(results, f"{name}_bytes")) for name in _BASELINES)
    caption = (
        f"Bytes of the whole model. Baselines: the dense checkpoint, {checkpoint} bytes, and the "
        f"float32 weights alone, {weights} bytes."
    )
    if len(dense) > 1:
        caption += f" Mean over {len(dense)} seeds."
    return [Table(header, rows, note=caption), _break_even_table(results)]


def _break_even_table(results: Results) -> Table:
    columns = list(itertools.product(_BASELINES, ("computed", "measured")))
    header = ["encoding", "description"]
    header += [f"against the {baseline}, {kind}" for baseline, kind in columns]
    rows = []
    for record in results["encodings"]:
        points = [record["break_even"][baseline][kind] for baseline, kind in columns]
        cells = [form.known(point, form.proportion) for point in points]
        name = f"{record['name']} (bound)" if record["bound"] else record["name"]
        rows.append([name, record["description"], *cells])
    note = (
        "Break-even: the smallest sparsity at which the encoding is no larger than the baseline "
        f"(12 and 4 bytes a parameter); {form.NOTHING} where there is none."
    )
    return Table(header, rows, left=2, note=note)


def machine_text(machine: Mapping[str, Any]) -> str:
    """A machine in one line: the host if it was another, processor, cores, memory, system."""
    where = f"{machine['host']}: " if machine.get("host") else ""
    return (
        f"{where}{machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 2**30:.1f} GiB, {machine['system']}"
    )


def conditions_table(results: Results) -> Table:
    """What the numbers were measured on: machine, versions, threads, batch, data, training."""
    experiment, environment = results["experiment"], results["environment"]
    machine, data = environment["machine"], experiment["data"]
    time = results["dense"][0]["prediction_time"]
    versions = {
        "compressor": results["compressor_version"],
        "Python": environment["python"],
        **environment["versions"],
    }
    rows = {
        "machine": machine_text(machine),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "threads": f"{experiment['threads']} in training, {time['threads']} in measuring",
        "measurement": f"{workload(results)}, {time['rounds']} rounds",
        "data": f"{data['name']}, {form.count(data['train'])} training images, "
        f"{form.count(experiment['validation_images'])} of them held out for validation, "
        f"{form.count(data['test'])} test images, sha256 {data['digest']}",
        **({"fed": form.fed(inputs)} if (inputs := results["dense"][0].get("inputs")) else {}),
        "training": _training(experiment["training"]),
        **_retraining(experiment["retraining"]),
        "seeds": ", ".join(map(str, experiment["seeds"])),
        "preset": experiment["preset"],
    }
    return Table(["condition", "value"], [list(row) for row in rows.items()], left=2)


def _retraining(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A row for each group of proportions that were retrained alike."""
    alike: dict[str, list[str]] = {}
    for sparsity, found in settings.items():
        alike.setdefault(_training(found), []).append(form.proportion(float(sparsity)))
    return {f"retraining at {', '.join(names)}": text for text, names in alike.items()}


def _training(settings: Mapping[str, Any]) -> str:
    text = (
        f"{form.count(settings['steps'])} steps of {settings['batch_size']} images, "
        f"learning rate {settings['learning_rate']:g} ({settings['learning_rate_schedule']})"
    )
    if "dropout" in settings:
        text += f", dropout {settings['dropout']:g}"
    if settings.get("dropout_scale", 1) != 1:
        text += f", dropout scaled by {settings['dropout_scale']:.3g}"
    return text
