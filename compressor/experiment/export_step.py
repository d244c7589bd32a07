"""The step that exports a model of a run: in each format, as float32 and as small as possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.data import Dataset
from compressor.exporters import FORMATS, ExportJob, Variants, write_artifact
from compressor.foundation import Listener


def export_step(
    directory: Path, source: Path, data: Dataset, threads: int | None, *, listener: Listener
) -> dict[str, Any]:
    """Export the model file `source` as float32.FORMAT and smallest.FORMAT in `directory`.

    Raises CheckFailedError where an artefact fails the parity check.
    """
    job = ExportJob(source, data, threads=threads)
    rows = []
    for file_format, runtime in FORMATS.items():
        variants = Variants(job, file_format, runtime, "size", None, listener)
        for name in ("float32", "smallest"):
            checked = variants.one("none") if name == "float32" else variants.best()
            record = write_artifact(job, checked, directory / f"{name}.{file_format}")
            rows.append(_row(record, name))
    return {"artefacts": rows}


def _row(record: dict[str, Any], variant: str) -> dict[str, Any]:
    verdict = record["verdict"]
    return {
        "file": Path(record["path"]).name,
        "form": variant,
        **{key: record[key] for key in ("format", "runtime", "runtime_version", "quantize")},
        "bytes": record["bytes"],
        **{key: verdict[key] for key in ("accuracy", "difference", "agreement")},
    }
