"""What a machine with an NVIDIA GPU needs to measure artefacts: made here, measured there.

    python -m benchmarks.gpu prepare --work FOLDER [--models FOLDER]

makes FOLDER/gpu, and the same as FOLDER/gpu.tar.gz: `measure.py` (it says how to use it), the
runner, the test images, and ONNX artefacts of a dense model and of pruned ones, in float32, float16
and int8, each run here on the CPU for its accuracy. What measure.py writes there, gpu.json, goes to
benchmarks/results.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor import CompressorError, load_dataset
from compressor._version import __version__
from compressor.data import Dataset
from compressor.errors import StorageError, UsageError
from compressor.exporters import ExportJob
from compressor.exporters.job import OTHER_VECTOR_TOLERANCE, VECTOR_TOLERANCE, VECTORS
from compressor.exporters.onnx.quiet import quiet
from compressor.foundation import quiet_tensorflow, write_json
from compressor.runtimes import Runner
from deploy import CheckVectors
from deploy.runner.packing import pack

MODELS = {
    "dense": "sweep/seed-0/step_1/model.keras",
    "90 %": "sweep/seed-0/0.9/step_2_2/model.keras",
    "2:4": "2of4/seed-0/step_2_2/model.keras",
    "channels": "channels/seed-0/step_2_2/model.keras",
}
"""Name -> where it lies in the folder that `benchmarks.export` makes; 2:4 as `benchmarks.accuracy`
names it."""
NEEDED = ("dense", "90 %")
MOST_BYTES = 64 * 2**20
"""Of the archive."""
_BATCH = 100
_MEASURE = Path(__file__).with_name("gpu_measure.py")
_OPERATORS = ("Conv", "Gemm", "MatMul", "MaxPool")


@dataclasses.dataclass(frozen=True)
class Form:
    """One artefact: what it computes in, and how it was made of the model."""

    quantize: str
    optimize: str | None
    made: str
    content: bytes


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    prepare_parser = commands.add_parser("prepare", help="make what goes to the machine")
    prepare_parser.add_argument("--work", type=Path, required=True)
    prepare_parser.add_argument("--models", type=Path, default=Path("runs/export"))
    options = parser.parse_args(arguments)
    quiet_tensorflow.NativeOutput().hold_back()
    try:
        archive = prepare(options.work, options.models)
    except CompressorError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"written to: {archive}, {archive.stat().st_size:,} bytes")
    return 0


def prepare(work: Path, models: Path) -> Path:
    """Make WORK/gpu and the archive of it; the archive.

    Raises UsageError where `models` lacks a model that is needed, StorageError where the archive
    would be larger than 64 MiB.
    """
    sources = {name: models / path for name, path in MODELS.items()}
    for name in NEEDED:
        if not sources[name].is_file():
            raise UsageError(
                f"there is no {name} model", value=sources[name], hint="python -m benchmarks.export"
            )
    folder = work / "gpu"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "artefacts").mkdir(parents=True)
    data = load_dataset(None)
    rows = []
    for name, source in sources.items():
        if source.is_file():
            job = ExportJob(source, data)
            rows += [_written(folder, name, job, form) for form in forms(job)]
        else:
            print(f"left out: {name}, for there is no {source}")
    _write_rest(folder, data, rows)
    return _archive(folder)


def forms(job: ExportJob) -> Iterator[Form]:
    """A model in float32, float16 and int8, as ONNX.

    - float32 and int8 as `compressor export --optimize latency` makes them;
    - float16 as ONNX Runtime's converter makes it of the float32 file with dense tensors: it
      computes in float16, where `--quantize float16` stores float16 and computes in float32;
      inputs and outputs stay float32;
    - int8 with symmetric activations and float biases, by ONNX Runtime's quantiser of the same
      file and calibration images: TensorRT takes no other.
    """
    for quantize in ("none", "int8"):
        request = job.request("onnxruntime", quantize, "latency", None)
        made = f"compressor export --quantize {quantize} --optimize latency"
        yield Form(quantize, "latency", made, job.build("onnx", request).content)
    request = job.request("onnxruntime", "int8", "latency", "dense")
    plain = dataclasses.replace(request, quantize="none", calibration=())
    dense = job.build("onnx", plain).content
    with quiet():
        half = _half(dense)
        symmetric = _symmetric(dense, request.calibration)
    yield Form("float16 computed", None, "onnxruntime.transformers.float16", half)
    yield Form("int8 symmetric", None, "onnxruntime.quantization.quantize_static", symmetric)


def _half(content: bytes) -> bytes:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load_from_string(content), keep_io_types=True)
    converted: bytes = model.SerializeToString()
    return converted


def _symmetric(content: bytes, calibration: Sequence[np.ndarray]) -> bytes:
    import onnx
    from onnxruntime import quantization

    model = onnx.load_from_string(content)
    name = model.graph.input[0].name

    class Reader(quantization.CalibrationDataReader):
        rows = iter([{name: row[None]} for row in calibration[0]])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.rows, None)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            path,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
            },
        )
        return path.read_bytes()


def _written(folder: Path, name: str, job: ExportJob, form: Form) -> dict[str, Any]:
    """Run a form on all test images, write it with its check vectors, and describe it."""
    computes = {"none": "float32"}.get(form.quantize, form.quantize)
    stem = f"{name} {computes}".replace(" %", "").replace(":", "-").replace(" ", "_")
    path = folder / "artefacts" / f"{stem}.onnx"
    path.write_bytes(form.content)
    reference = job.reference
    with Runner("onnxruntime") as runner:
        port = runner.load(path)["inputs"][0]["name"]
        scores = runner.predict(reference.inputs((port,), slice(None)), batch=_BATCH)
    exact = form.quantize.partition(" ")[0]
    tolerance = VECTOR_TOLERANCE.get(exact, OTHER_VECTOR_TOLERANCE) * float(np.abs(scores).max())
    vectors = CheckVectors(
        reference.inputs((port,), slice(VECTORS)), scores[:VECTORS].astype(np.float32), tolerance
    )
    path.with_name(path.name + ".check.npz").write_bytes(vectors.to_bytes())
    labels = np.asarray(job.data.y_test if job.data else ())
    row = {
        "file": path.relative_to(folder).as_posix(),
        "name": f"{name}, {computes}",
        "format": "onnx",
        "bytes": len(form.content),
        "sha256": hashlib.sha256(form.content).hexdigest(),
        "quantize": form.quantize,
        "optimize": form.optimize,
        "sparsity": _sparsity(job),
        "accuracy": float(np.mean(scores.argmax(axis=1) == labels)),
        "reference_accuracy": float(np.mean(reference.scores.argmax(axis=1) == labels)),
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


def _write_rest(folder: Path, data: Dataset, rows: list[dict[str, Any]]) -> None:
    (folder / "runner.pyz").write_bytes(pack())
    shutil.copyfile(_MEASURE, folder / "measure.py")
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
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, folder.name)
    if archive.stat().st_size > MOST_BYTES:
        raise StorageError(
            "the archive is too large", value=f"{archive} has {archive.stat().st_size:,} bytes"
        )
    return archive


if __name__ == "__main__":
    sys.exit(main())
