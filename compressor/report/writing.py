"""Writing a report into its run directory, and the command that does it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from compressor.errors import UsageError
from compressor.foundation import Listener, SilentListener, write_text
from compressor.report.flat import results_csv
from compressor.report.markdown import FIGURES, report_markdown
from compressor.report.page import report_page
from compressor.report.pictures import draw, write_pictures
from compressor.report.run_contents import RunContents, read_run
from compressor.report.sections import build_report
from compressor.runs import Results, check_results

PAGE, MARKDOWN, CSV = "report.html", "report.md", "results.csv"


@dataclass(frozen=True)
class WrittenReport:
    """The files of a report."""

    page: Path
    """report.html, which needs no other file"""
    markdown: Path
    """report.md, which shows the pictures in figures/ beside it"""


def report_run(run: Path | str, *, listener: Listener | None = None) -> WrittenReport:
    """Write the report of the run directory `run` into it: report.html, and report.md + figures/.

    `run` is that of a sweep (results.json) or of train or prune; models, artefacts and bench.json
    are reported where they are there. What was written before is replaced, and the same files give
    the same bytes. Raises UsageError for a folder that is no run, CheckpointError for a
    results.json, a bench.json or a record that is damaged, before anything is written; and
    StorageError where a file cannot be written.
    """
    run = Path(run)
    if not run.is_dir():
        raise UsageError("no such run directory", value=run)
    listener = listener or SilentListener()
    contents = read_run(run, listener=listener)
    return _write(contents, run, listener)


def write_report(
    results: Results, directory: Path, *, listener: Listener | None = None
) -> WrittenReport:
    """Write the report of `results`, and of what else is in `directory`, into it.

    Writes results.csv, figures/*.png, figures/*.svg, then report.md, which embeds the figures by
    relative links, and last report.html, which needs no other file; results.json is its caller's.
    The same results give the same files, byte for byte. Raises CheckpointError for a document that
    is not a results document of this version, and StorageError where a file cannot be written.
    """
    check_results(results)
    directory = Path(directory)
    listener = listener or SilentListener()
    contents = read_run(directory, results, listener)
    return _write(contents, directory, listener)


def _write(contents: RunContents, directory: Path, listener: Listener) -> WrittenReport:
    report = build_report(contents)
    listener.stage("draw the report")
    # All is made before anything is written.
    drawings = draw(report)
    page, text = report_page(report, drawings), report_markdown(report)
    if contents.results is not None:
        write_text(directory / CSV, results_csv(contents.results))
    write_pictures(report, drawings, directory / FIGURES)
    write_text(directory / MARKDOWN, text)
    write_text(directory / PAGE, page)
    return WrittenReport(directory / PAGE, directory / MARKDOWN)
