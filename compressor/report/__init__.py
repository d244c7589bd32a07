"""The report of an experiment: tables, figures, and the answer to the paper's hypothesis.

Reads a results document (results.schema.json) and writes report.md, results.csv and
figures/. Imports matplotlib and scipy only when something is drawn or computed.
"""

from __future__ import annotations

from pathlib import Path

from compressor._files import write_text
from compressor.report.answer import hypothesis_text
from compressor.report.artefacts import artefact_table, artefact_text, has_artefacts
from compressor.report.document import Results, check, schema
from compressor.report.figures import write_figures
from compressor.report.flat import results_csv
from compressor.report.markdown import results_markdown
from compressor.report.statistics import hypothesis, spearman
from compressor.report.tables import (
    encoding_table,
    proportion_tables,
    summary_table,
    summary_text,
)

__all__ = [
    "Results",
    "artefact_table",
    "artefact_text",
    "check",
    "encoding_table",
    "has_artefacts",
    "hypothesis",
    "hypothesis_text",
    "proportion_tables",
    "results_csv",
    "results_markdown",
    "schema",
    "spearman",
    "summary_table",
    "summary_text",
    "write_figures",
    "write_report",
]


def write_report(results: Results, directory: Path) -> Path:
    """Write the report of `results` into `directory` and return the path of report.md.

    Writes results.csv, figures/*.png, figures/*.svg, and last report.md, which embeds the
    figures by relative links; results.json is its caller's. The same results give the
    same files, byte for byte. Raises CheckpointError for a document that is not a results
    document of this version, and StorageError where a file cannot be written.
    """
    check(results)
    directory = Path(directory)
    write_text(directory / "results.csv", results_csv(results))
    write_figures(results, directory / "figures")
    page = directory / "report.md"
    write_text(page, results_markdown(results))
    return page
