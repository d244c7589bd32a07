"""The report as a whole: a section for everything that a run has the numbers for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compressor.report import formatting as form
from compressor.report.answer import hypothesis_text
from compressor.report.artefacts import artefact_figure, artefact_table, has_artefacts, has_files
from compressor.report.bench_section import bench_blocks, bench_conditions
from compressor.report.content import (
    Block,
    Details,
    Figure,
    Figures,
    Heading,
    Pictures,
    Report,
    Section,
    Table,
    Text,
)
from compressor.report.encodings_figure import encodings_figure
from compressor.report.figures import paper_figures
from compressor.report.headline import headline, lead, title
from compressor.report.metrics import cell, column_title
from compressor.report.run_contents import FoundArtefact, RunContents
from compressor.report.search_section import search_facts, search_lead, search_sections
from compressor.report.step_metrics import step_cells, worst_class_lines
from compressor.report.structure import layer_figure, layer_table, web_figures
from compressor.report.tables import (
    conditions_table,
    encoding_tables,
    proportion_tables,
    summary_table,
)
from compressor.report.trade_offs import bytes_figure, latency_figures
from compressor.report.weight_pictures import histograms, mask_pictures
from compressor.runs import BenchRun, Results, newest_run


def build_report(contents: RunContents) -> Report:
    """The sections for which `contents` has anything to say."""
    run = newest_run(contents.bench) if contents.bench else None
    results = contents.results
    sections = [
        Section("summary", "Summary", list(_summary(contents))),
        *(search_sections(contents.search) if contents.search is not None else ()),
        *(_sweep_sections(results) if results is not None else ()),
        Section("artefacts", "Artefacts", list(_artefacts(contents))),
        Section("trade-offs", "Accuracy against bytes and latency", _trade_offs(contents, run)),
        Section("bench", "Measured in the runtimes", bench_blocks(run) if run else []),
        Section("weights", "What is left of the weights", list(_weights(contents))),
        Section("structure", "The network's structure", list(_structure(contents))),
        Section("proportions", "One table a proportion", _proportions(results)),
        Section("conditions", "Conditions", list(_conditions(contents, run))),
    ]
    return Report(title(contents), lead(contents), [part for part in sections if part.blocks])


def _summary(contents: RunContents) -> Iterator[Block]:
    if contents.search is not None and (best := search_facts(contents.search)).facts:
        yield Text(search_lead(contents.search))
        yield best
    facts = headline(contents)
    if facts.facts and (contents.search is None or contents.results is not None):
        if contents.search is not None:
            yield Text("What the sweep found, by pruning alone:")
        yield facts
    if contents.results is not None:
        yield summary_table(contents.results)
    elif contents.records:
        yield _steps_table(contents.records, contents.versions)
    if contents.notes:
        yield Text("\n\n".join(contents.notes))


def _steps_table(records: Mapping[str, Mapping[str, Any]], versions: Mapping[str, str]) -> Table:
    """What each step of train or prune recorded; a record may be another version's."""
    heads = next((r["heads"] for r in records.values() if r.get("heads")), None)
    titles, metrics = step_cells(heads)
    rows = [
        [
            step,
            *metrics(record),
            _count(record.get("nonzeros")),
            _count(record.get("checkpoint_bytes", record.get("bytes"))),
        ]
        for step, record in records.items()
    ]
    header = ["step", *titles, "weights not zero", "bytes of the file"]
    made = {
        text: [step for step in records if versions[step] == text] for text in versions.values()
    }
    what = "Accuracy on the test images" if heads is None else "Metrics on the test examples"
    note = f"{what}; weights of the kernels, biases not counted."
    unmeasured = [step for step, record in records.items() if "accuracy_note" in record]
    if unmeasured:
        note += f" {', '.join(unmeasured)}: {form.short(records[unmeasured[0]]['accuracy_note'])}."
    for step, record in list(records.items())[-1:]:
        note += "".join(f" {step}: {line}." for line in worst_class_lines(record))
    for text, steps in made.items():
        note += f" {', '.join(steps)}: made with {text}."
    return Table(header, rows, note=note)


def _count(value: Any) -> str:
    known = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
    return form.count(value) if known else form.NOTHING


def _sweep_sections(results: Results) -> Iterator[Section]:
    yield Section("figures", "Figures", [Figures(paper_figures(results))])
    yield Section("hypothesis", "The hypothesis", [Text(hypothesis_text(results))])
    sizes, points = encoding_tables(results)
    figures = [encodings_figure(results)]
    if has_files(results):
        figures.append(artefact_figure(results))
    encodings = [Figures(figures), points, Details("Bytes in full", [sizes])]
    yield Section("encodings", "Encodings", encodings)


def _artefacts(contents: RunContents) -> Iterator[Block]:
    if contents.results is not None and has_artefacts(contents.results):
        yield artefact_table(contents.results)
    if contents.artefacts:
        yield _found_table(contents.artefacts)


def _found_table(found: Sequence[FoundArtefact]) -> Table:
    metric = column_title([item.artifact.describe() for item in found]).replace("\n%", " (%)")
    header = ["file", "format", "quantised", "proven in", "sparsity", metric, "bytes"]
    rows = []
    for item in found:
        artifact = item.artifact
        runtimes = ", ".join(f"{run.runtime} {run.version}" for run in artifact.verified)
        sparsity = form.known(artifact.provenance.sparsity, form.proportion)
        shown = cell(artifact.tasks, item.values())
        row = [item.file, artifact.format, artifact.quantize, runtimes, sparsity, shown]
        rows.append([*row, form.count(artifact.bytes)])
    note = "As their descriptions say; each file still has the sha256 that its description gives."
    return Table(header, rows, left=4, note=note)


def _trade_offs(contents: RunContents, run: BenchRun | None) -> list[Block]:
    figures: list[Figure] = []
    # Those of a search are on its front.
    found = contents.artefacts if contents.search is None or contents.results else ()
    if (size := bytes_figure(run, contents.results, found)) is not None:
        figures.append(size)
    if run is not None:
        figures += latency_figures(run)
    return [Figures(figures)] if figures else []


def _weights(contents: RunContents) -> Iterator[Block]:
    if not contents.after:
        return
    networks = contents.after
    titles = " and ".join(f"“{network.title}”" for network in networks)
    whole = [
        kernel.name
        for kernel in networks[-1].kernels
        if all(k.density == 1 for n in networks for k in n.kernels if k.name == kernel.name)
    ]
    text = f"The models shown: {titles}."
    if whole:
        names = ", ".join(form.short(name) for name in whole[:12])
        text += f" Not pruned, so without a picture: {names}."
    yield Text(text)
    if pictures := mask_pictures(networks):
        yield Heading("Masks")
        yield Pictures(pictures)
    yield Heading("Histograms")
    yield Figures(histograms(contents.before, networks))


def _structure(contents: RunContents) -> Iterator[Block]:
    networks = contents.after or ([contents.before] if contents.before else [])
    if not networks:
        return
    last = networks[-1]
    yield Figures(web_figures(contents.before, contents.after))
    yield Figures([layer_figure(contents.before, last)])
    yield Details("Every layer", [layer_table(contents.before, networks)])


def _proportions(results: Results | None) -> list[Block]:
    if results is None:
        return []
    return [Details("The paper's Tables 4 to 9, with our numbers", proportion_tables(results))]


def _conditions(contents: RunContents, run: BenchRun | None) -> Iterator[Block]:
    if contents.results is not None:
        if run is not None:
            yield Heading("Training and prediction times")
        yield conditions_table(contents.results)
    if run is not None:
        yield Heading("Measurement in the runtimes")
        yield bench_conditions(run)
