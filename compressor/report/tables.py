"""The tables of the report, and those for the terminal.

Every function takes a results document (results.schema.json). Sizes are in MiB (2^20 bytes),
accuracies in percent of the test images, times in ms. Over several seeds a cell is the mean, with
the range in parentheses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compressor.experiment import paper_results
from compressor.report import formatting as form
from compressor.report.content import Block, Heading, Table
from compressor.report.paper import paper_layer, paper_row
from compressor.runs import Results, bound_names, by_sparsity, dense_of, encoding_names

_Rows = Sequence[Mapping[str, Any]]


def workload(results: Results) -> str:
    """What a prediction time is the time of: "10 batches of 32"."""
    time = results["dense"][0]["prediction_time"]
    return f"{time['batches']} batches of {time['batch_size']}"


def seeds_note(results: Results) -> str:
    """What a cell shows over several seeds: a sentence, or nothing where there is one seed."""
    seeds = len(results["dense"])
    if seeds == 1:
        return ""
    return f"Mean over {seeds} seeds, with the range (smallest to largest) in parentheses."


def proportion_tables(results: Results) -> list[Block]:
    """One table a proportion, as the paper's Tables 4 to 9.

    Before pruning is the dense model, after it the retrained and sparsified one. The
    paper's own numbers stand beside where it pruned the same layers at that proportion.
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
        parts += [Heading(title), Table(header, cells, note=seeds_note(results))]
    return parts


def _layer_lines(rows: _Rows, sparsity: float) -> list[list[str]]:
    """Rows of [name, before, after, paper before, paper after]: thresholds, then counts."""
    thresholds, counts = [], []
    for index, layer in enumerate(rows[0]["layers"]):
        name = _layer_name(layer)
        layers = [row["layers"][index] for row in rows]
        paper_threshold, paper_kept = paper_layer(layer, sparsity)
        thresholds.append(
            [
                f"threshold of {name}",
                "",
                form.spread([found["threshold"] for found in layers], form.threshold),
                "",
                form.threshold(paper_threshold) if paper_threshold is not None else "",
            ]
        )
        counts.append(
            [
                f"weights of {name}",
                form.count(layer["parameters"]),
                form.spread([found["kept"] for found in layers], form.count),
                form.count(layer["parameters"]) if paper_kept is not None else "",
                form.count(paper_kept) if paper_kept is not None else "",
            ]
        )
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

    def time(percentile: str) -> Callable[[Mapping[str, Any]], float]:
        return lambda found: float(found["prediction_time"]["total_ms"][percentile])

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
            time("p50"),
            form.milliseconds,
            after=printed.prediction_time if printed else "",
        ),
        line("prediction time, 90th percentile (ms)", time("p90"), form.milliseconds),
        line("prediction time, 99th percentile (ms)", time("p99"), form.milliseconds),
    ]


_SUMMARY_HEADER = (
    ("pruned", "pruned"),
    ("weights kept", "weights\nkept"),
    ("checkpoint (MiB)", "checkpoint\nMiB"),
    ("sparse (MiB)", "sparse\nMiB"),
    ("paper (MiB)", "paper\nMiB"),
    ("accuracy dense (%)", "dense\n%"),
    ("pruned (%)", "pruned\n%"),
    ("retrained (%)", "retrained\n%"),
    ("sparse (%)", "sparse\n%"),
    ("prediction time (ms)", "time\nms"),
)

_Line = list[tuple[Sequence[float], Callable[[float], str]]]


def _summary_lines(results: Results) -> list[tuple[str, _Line]]:
    """(proportion, cells) of the dense model and of every proportion; an empty cell is []."""
    dense = results["dense"]
    grouped = by_sparsity(results)
    pruned = [layer["parameters"] for layer in results["proportions"][0]["layers"]]
    comparable = any(paper_row(results, sparsity) for sparsity in grouped)
    lines: list[tuple[str, _Line]] = [
        (
            "0 %",
            [
                ([sum(pruned)], form.count),
                ([found["checkpoint_bytes"] for found in dense], form.mib),
                ([], form.mib),
                ([paper_results.DENSE_MIB] if comparable else [], str),
                ([found["accuracy"] for found in dense], form.percent),
                ([], form.percent),
                ([], form.percent),
                ([], form.percent),
                (_medians(dense), form.milliseconds),
            ],
        )
    ]
    for sparsity, rows in grouped.items():
        printed = paper_row(results, sparsity)
        lines.append(
            (
                form.proportion(sparsity),
                [
                    ([sum(la["kept"] for la in row["layers"]) for row in rows], form.count),
                    ([row["retrained"]["checkpoint_bytes"] for row in rows], form.mib),
                    ([row["sparse"]["bytes"] for row in rows], form.mib),
                    ([printed.size_mib] if printed else [], str),
                    ([found["accuracy"] for found in dense_of(results, rows)], form.percent),
                    ([row["pruned"]["accuracy"] for row in rows], form.percent),
                    ([row["retrained"]["accuracy"] for row in rows], form.percent),
                    ([row["sparse"]["accuracy"] for row in rows], form.percent),
                    (_medians([row["sparse"] for row in rows]), form.milliseconds),
                ],
            )
        )
    return lines


def _medians(found: _Rows) -> list[float]:
    return [record["prediction_time"]["total_ms"]["p50"] for record in found]


def summary_table(results: Results) -> Table:
    """One row a proportion, after one for the dense model: kept, sizes, accuracies, time."""
    rows = [
        [name, *(form.spread(values, text) if values else form.NOTHING for values, text in cells)]
        for name, cells in _summary_lines(results)
    ]
    note = (
        f"Prediction time is the median of {workload(results)}; "
        f"weights kept are those of the pruned layers. {seeds_note(results)}"
    )
    return Table([title for title, _ in _SUMMARY_HEADER], rows, note=note.strip())


def summary_text(results: Results) -> str:
    """The summary table in aligned columns for a terminal, at most 100 wide.

    Over several seeds a row is the mean; two rows below it show the smallest and the
    largest value wherever they differ.
    """
    several = len(results["dense"]) > 1
    rows = []
    for name, cells in _summary_lines(results):
        rows.append([name, *(text(form.mean(v)) if v else "-" for v, text in cells)])
        if several:
            lowest = [text(min(v)) if v else "" for v, text in cells]
            highest = [text(max(v)) if v else "" for v, text in cells]
            for label, ends in (("  least", lowest), ("  most", highest)):
                pairs = zip(ends, lowest, highest, strict=True)
                rows.append([label, *(end if low != high else "" for end, low, high in pairs)])
    table = form.text_table([title for _, title in _SUMMARY_HEADER], rows)
    note = f"dense to sparse: accuracy on the test images; time: median of {workload(results)}\n"
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
    baselines = {
        "checkpoint": form.mean([found["checkpoint_bytes"] for found in dense]),
        "weights": form.mean([found["weights_bytes"] for found in dense]),
    }
    caption = (
        f"Bytes of the whole model. Baselines: the dense checkpoint, "
        f"{form.count(baselines['checkpoint'])} bytes, and the float32 weights alone, "
        f"{form.count(baselines['weights'])} bytes."
    )
    if len(dense) > 1:
        caption += f" Mean over {len(dense)} seeds."
    return [Table(header, rows, note=caption), _break_even_table(results)]


def _break_even_table(results: Results) -> Table:
    header = ["encoding", "description"]
    header += [
        f"against the {baseline}, {kind}"
        for baseline in ("checkpoint", "weights")
        for kind in ("computed", "measured")
    ]
    rows = []
    for record in results["encodings"]:
        points = [
            record["break_even"][baseline][kind]
            for baseline in ("checkpoint", "weights")
            for kind in ("computed", "measured")
        ]
        cells = [form.NOTHING if point is None else form.proportion(point) for point in points]
        name = f"{record['name']} (bound)" if record["bound"] else record["name"]
        rows.append([name, record["description"], *cells])
    note = (
        "Break-even: the smallest sparsity at which the encoding is no larger than the baseline "
        f"(12 and 4 bytes a parameter); {form.NOTHING} where there is none."
    )
    return Table(header, rows, left=2, note=note)
