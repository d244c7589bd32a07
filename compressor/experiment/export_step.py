"""The step that exports a model of a run: in each format, as float32 and as small as possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.data import Dataset
from compressor.exporters import FORMATS, ExportJob, Forms, write_artifact
from compressor.foundation import Listener


def export_step(
    directory: Path,
    source: Path,
    data: Dataset,
    threads: int | None,
    *,
    listener: Listener,
) -> dict[str, Any]:
    """Export the model file `source` as float32.FORMAT and smallest.FORMAT in `directory`.

    Raises CheckFailedError where an artefact does not do what the model does.
    """
    job = ExportJob(source, data, threads=threads)
    rows = []
    for file_format, runtime in FORMATS.items():
        forms = Forms(job, file_format, runtime, "size", None, listener)
        for form in ("float32", "smallest"):
            checked = forms.one("none") if form == "float32" else forms.best()
            record = write_artifact(job, checked, directory / f"{form}.{file_format}")
            rows.append(_row(record, form))
    return {"artefacts": rows}


def _row(record: dict[str, Any], form: str) -> dict[str, Any]:
    verdict = record["verdict"]
    return {
        "file": Path(record["path"]).name,
        "form": form,
        **{key: record[key] for key in ("format", "runtime", "runtime_version", "quantize")},
        "bytes": record["bytes"],
        **{key: verdict[key] for key in ("accuracy", "difference", "agreement")},
    }
