"""Packing what the GPU's machine needs: artefacts, test images, the runner and measure.py."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.forms import Form, forms
from compressor import PruningSpec, load_dataset, make_plan, prune_run
from compressor._version import __version__
from compressor.data import Dataset, draw_examples
from compressor.errors import StorageError, UsageError
from compressor.exporters import ExportJob
from compressor.exporters.checking import OTHER_VECTOR_TOLERANCE, VECTOR_TOLERANCE, VECTORS
from compressor.foundation import atomic_path, write_json
from compressor.runs import MODEL, is_finished
from compressor.runtimes import Runner
from deploy import CheckVectors, describe_machine
from deploy.runner.packing import pack

STEPS = {"dense": "step_1", "90 %": "0.9/step_2_2"}
"""Name -> the step, of a seed of a sweep, that holds the model."""
CHANNELS = PruningSpec({"conv1": 0.75, "conv2": 0.75, "fc1": 0.94}, granularity="channel")
"""How the third model is made of the dense one; in this short a retraining, to be measured only."""
CHANNEL_STEPS, CHANNEL_RATE = 300, 4e-3
MOST_BYTES = 64 * 2**20
"""Of the archive."""
_BATCH = 100
_THERE = Path(__file__).with_name("there")
_MEASURE = '''\
"""Measures ONNX artefacts on a GPU; python measure.py --help says how."""

import sys
from pathlib import Path

if sys.version_info < (3, 9):
    sys.exit("error: this program needs Python 3.9 or newer")

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "runner.pyz")]

from there.command import main

sys.exit(main(HERE))
'''


def prepare(run: Path, work: Path, models: Mapping[str, Path] | None = None) -> Path:
    """Make WORK/gpu and the archive of it, WORK/gpu.tar.gz; the archive.

    `run` is a finished sweep with the sparsity 0.9. `models` are further .keras files by name, or
    take the place of `dense`, `90 %` or `channels`, which is else pruned here from the dense model.
    Raises UsageError where `run` lacks a model, StorageError where the archive would be larger than
    64 MiB.
    """
    given = dict(models or {})
    sources = {**find_models(run, [name for name in STEPS if name not in given]), **given}
    for name, source in sources.items():
        if not source.is_file():
            raise UsageError(f"there is no {name} model", value=source)
    data = load_dataset(None)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        if "channels" not in sources:
            sources["channels"] = _narrowed(sources["dense"], data, Path(temporary))
        folder = work / "gpu"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "artefacts").mkdir(parents=True)
        ordered = [*STEPS, "channels"]
        for name in (*ordered, *(other for other in sources if other not in ordered)):
            job = ExportJob(sources[name], data)
            rows += [_written(folder, name, job, form) for form in forms(job)]
    write_program(folder)
    _write_material(folder, data, rows)
    return _archive(folder)


def find_models(run: Path, names: Iterable[str]) -> dict[str, Path]:
    """These models of a finished sweep, of its first seed; raises UsageError for one it lacks."""
    seed = min(run.glob("seed-*"), default=run / "seed-0")
    found = {name: seed / STEPS[name] / MODEL for name in names}
    for name, path in found.items():
        if not is_finished(path.parent):
            raise UsageError(f"there is no {name} model", value=path, hint="make demo")
    return found


def _narrowed(dense: Path, data: Dataset, folder: Path) -> Path:
    """The dense model with most of its channels and units pruned, briefly retrained."""
    plan = make_plan(
        data,
        sparsities=(CHANNELS.highest_sparsity,),
        steps=CHANNEL_STEPS,
        learning_rate=CHANNEL_RATE,
    )
    prune_run(dense, folder / "channels", CHANNELS, plan)
    return folder / "channels" / "step_2_2" / MODEL


def _written(folder: Path, name: str, job: ExportJob, form: Form) -> dict[str, Any]:
    """Run a form on all test images, write it with its check vectors, and describe it."""
    computes = {"none": "float32"}.get(form.quantize, form.quantize)
    stem = f"{name} {computes}".replace(" %", "").replace(":", "-").replace(" ", "_")
    path = folder / "artefacts" / f"{stem}.onnx"
    path.write_bytes(form.content)
    test = job.test
    assert test is not None and test.labels is not None
    with Runner("onnxruntime", threads=describe_machine()["cores"]) as runner:
        port = runner.load(path)["inputs"][0]["name"]
        scores = runner.predict(test.inputs((port,), slice(None)), batch=_BATCH)
    exact = form.quantize.partition(" ")[0]
    tolerance = VECTOR_TOLERANCE.get(exact, OTHER_VECTOR_TOLERANCE) * float(np.abs(scores).max())
    drawn = draw_examples(test.x, test.labels, VECTORS)
    inputs = test.only(drawn).inputs((port,), slice(None))
    vectors = CheckVectors(inputs, scores[drawn].astype(np.float32), tolerance)
    path.with_name(path.name + ".check.npz").write_bytes(vectors.to_bytes())
    row = {
        "file": path.relative_to(folder).as_posix(),
        "name": f"{name}, {computes}",
        "format": "onnx",
        "bytes": len(form.content),
        "sha256": hashlib.sha256(form.content).hexdigest(),
        "quantize": form.quantize,
        "optimize": form.optimize,
        "sparsity": _sparsity(job),
        "accuracy": float(np.mean(scores.argmax(axis=1) == test.labels)),
        "reference_accuracy": test.accuracy,
        "made": form.made,
        "input": port,
    }
    print(f"{row['name']}: {row['bytes']:,} bytes, {100 * row['accuracy']:.2f} %", flush=True)
    return row


def _sparsity(job: ExportJob) -> float:
    """The fraction of the weights of kernels that are zero in the model, before shrinking."""
    kernels = [np.asarray(one) for one in job.model.weights if one.path.endswith("kernel")]
    zeros = sum(int(np.count_nonzero(kernel == 0)) for kernel in kernels)
    return zeros / sum(kernel.size for kernel in kernels)


def write_program(folder: Path) -> None:
    """Write measure.py, what it imports, and the runner."""
    (folder / "measure.py").write_text(_MEASURE)
    (folder / "runner.pyz").write_bytes(pack())
    (folder / _THERE.name).mkdir()
    for path in _THERE.glob("*.py"):
        shutil.copyfile(path, folder / _THERE.name / path.name)


def _write_material(folder: Path, data: Dataset, rows: list[dict[str, Any]]) -> None:
    images, labels = np.asarray(data.x_test), np.asarray(data.y_test)
    np.savez_compressed(folder / "images.npz", images=images, labels=labels)
    with Runner("onnxruntime") as runner:
        (port,) = runner.load(folder / rows[0]["file"])["inputs"]
    plan = {
        "compressor_version": __version__,
        "data": {"name": data.name, "sha256": data.digest, "examples": len(labels)},
        "input": port["name"],
        "row": port["shape"][1:],
        "artefacts": rows,
    }
    write_json(folder / "artefacts.json", plan)


def _archive(folder: Path) -> Path:
    archive = folder.with_suffix(".tar.gz")
    with atomic_path(archive) as partial:
        with tarfile.open(partial, "w:gz") as file:
            file.add(folder, folder.name)
        size = partial.stat().st_size
        if size > MOST_BYTES:
            raise StorageError("the archive is too large", value=f"{archive} has {size:,} bytes")
    return archive
