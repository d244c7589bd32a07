"""The report of a run: tables, figures, and the answer to the paper's hypothesis.

Reads a results document (results.schema.json), a bench document (bench.schema.json) and the models
of a run directory, and writes report.html, report.md, results.csv and figures/. Imports matplotlib,
scipy, numpy and Jinja2 only when something is drawn, computed or written.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from compressor.report.answer import hypothesis_text
from compressor.report.artefacts import artefact_table, artefact_text, has_artefacts
from compressor.report.bench_document import check_bench, read_bench
from compressor.report.document import Results, check, schema
from compressor.report.flat import results_csv
from compressor.report.statistics import hypothesis, spearman
from compressor.report.tables import (
    encoding_tables,
    proportion_tables,
    summary_table,
    summary_text,
)

if TYPE_CHECKING:
    from compressor.report._write import Written, report_run, write_report

__all__ = [
    "Results",
    "Written",
    "artefact_table",
    "artefact_text",
    "check",
    "check_bench",
    "encoding_tables",
    "has_artefacts",
    "hypothesis",
    "hypothesis_text",
    "proportion_tables",
    "read_bench",
    "report_run",
    "results_csv",
    "schema",
    "spearman",
    "summary_table",
    "summary_text",
    "write_report",
]
_LATE = ("Written", "report_run", "write_report")


def __getattr__(name: str) -> Any:
    # What writes a report reads models, which takes numpy.
    if name not in _LATE:
        raise AttributeError(f"module 'compressor.report' has no attribute {name!r}")
    return getattr(importlib.import_module("compressor.report._write"), name)
