"""Keeping what measure.py wrote on the GPU's machine."""

from __future__ import annotations

from pathlib import Path

from benchmarks import tables
from benchmarks._record import RESULTS
from benchmarks.gpu.there.plan import describe_missing
from benchmarks.gpu.there.table import markdown
from compressor.errors import CheckpointError, UsageError
from compressor.foundation import write_bytes, write_json
from compressor.runs import read_bench

NAME = "gpu"


def publish(file: Path, results: Path = RESULTS, page: Path = tables.PAGE) -> str:
    """Copy a checked gpu.json to the results and its table into the page; what is missing, as text.

    An unfinished run is kept, too: its table says which rows are missing. Raises CheckpointError
    for a file that is no bench document, UsageError for a run that measured no GPU.
    """
    document = read_bench(file)
    run = document["runs"][-1] if document["runs"] else {}
    if run.get("benchmark") != NAME or not run["machine"].get("gpu"):
        raise UsageError("this is no run on a GPU", value=file, hint="give measure.py's gpu.json")
    if not run["rows"]:
        raise UsageError("nothing was measured yet", value=file, hint="run measure.py again")
    try:
        markdown(run)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError("this is not what measure.py writes", value=file) from error
    write_json(results / f"{NAME}.json", document)
    write_bytes(page, tables.fill(page.read_text(), results).encode())
    return "\n".join(describe_missing(run) or ["All rows are there."])
