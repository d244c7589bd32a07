"""What reads the documents of runs, models and sparse checkpoints, for `fuzzing`."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bench_documents import bench_document
from fuzz_files import emptied, members_of, npy_of
from fuzzing import MIB, Attempt, Target
from mutators import altered, damaged, npy, text_of, zipped
from results_documents import make_results

WEIGHTS, CONFIG = "model.weights.h5", "config.json"
_SPARSITIES = (0.5, 0.9)


def _shown(run: Path) -> None:
    """The page and the text of a run, without its drawings."""
    from compressor.report.markdown import report_markdown
    from compressor.report.run_contents import read_run
    from compressor.report.sections import build_report

    text = report_markdown(build_report(read_run(run)))
    assert all(line.isprintable() for line in text.split("\n"))


def _exported(results: dict[str, Any]) -> dict[str, Any]:
    """The document with artefacts of each model, one of which could not be made."""
    speed = {
        **{"runtime": "litert", "host": None, "threads": 1, "batch": 1},
        "ratio": {"value": 0.5, "low": 0.4, "high": 0.6},
    }
    artefact = {
        **{"file": "a.tflite", "form": "smallest", "format": "tflite", "runtime": "litert"},
        **{"runtime_version": "2", "quantize": "int8", "bytes": 9, "accuracy": 0.9},
        **{"difference": 0.1, "agreement": 0.9, "validation_accuracy": 0.9, "speed": speed},
    }
    failed = {"form": "float32", "format": "onnx", "runtime": "onnxruntime", "error": "no"}
    for row in (*results["dense"], *results["proportions"]):
        row |= {"artefacts": [artefact, {**artefact, "form": "float32"}], "export_errors": [failed]}
    return results


def results(folder: Path) -> Attempt:
    """What is read of results.json can be reported."""
    from compressor.report.writing import results_csv
    from compressor.runs import read_results

    sound, path = _exported(make_results(1, _SPARSITIES)), folder / "results.json"

    def attempt(chance: random.Random) -> bool:
        path.write_bytes(text_of(sound, chance))
        results_csv(read_results(path))
        _shown(folder)
        return True

    path.write_text(json.dumps(sound))
    _shown(folder)
    return attempt


def benches(folder: Path) -> Attempt:
    """What is read of bench.json can be reported."""
    sound, path = bench_document([(1, 1)]), folder / "bench.json"

    def attempt(chance: random.Random) -> bool:
        path.write_bytes(text_of(sound, chance))
        _shown(folder)
        return True

    path.write_text(json.dumps(sound))
    _shown(folder)
    return attempt


def records(folder: Path) -> Attempt:
    """The records of steps, also those whose digest is right, and what the run is."""
    from compressor.foundation import experiment_versions
    from compressor.report import records_text
    from compressor.report.inspection import _thresholds
    from compressor.runs import outdated_steps
    from compressor.runs.run_directory import (
        VERSIONS,
        RunDirectory,
        _digest,
        read_step,
        write_record,
    )

    layer = {"layer": "fc1", "parameters": 9, "threshold": 0.1, "kept": 1, "sparsity": 0.9}
    result = {
        **{"accuracy": 0.9, "validation_accuracy": 0.9, "nonzeros": 5, "checkpoint_bytes": 7},
        **{"pruning": {"layers": [layer], "left_alone": {}, "warnings": []}, "layers": [layer]},
    }
    identity = {"kind": "model"}
    asked = {"model": "a", "sparsity": 0.9, "layers": ["fc1"]}
    config = {**asked, VERSIONS: experiment_versions()}

    def write(step: Path, chance: random.Random | None) -> None:
        step.mkdir()
        (step / "model.keras").write_bytes(b"m")
        kind = 0 if chance is None else chance.randrange(4)
        write_record(step, altered(result, chance) if chance and kind else result, config)
        record = step / "record.json"
        if chance and kind == 1:
            record.write_bytes(text_of(json.loads(record.read_text()), chance))
        elif chance and kind == 2:
            content = altered(json.loads(record.read_text()), chance)
            if isinstance(content, dict):
                content.pop("digest", None)
                content["digest"] = _digest(content)
            record.write_text(json.dumps(content))

    def attempt(chance: random.Random) -> bool:
        run = emptied(folder / "run")
        write(run / "step_1", None)
        try:
            write(run / "step_2_1", chance)
        except ValueError:  # NaN, which is not written
            return False
        name = run / "experiment.json"
        name.write_bytes(
            text_of(identity, chance) if chance.randrange(4) == 0 else b'{"kind": "model"}'
        )
        outdated_steps(run)
        _shown(run)
        _thresholds(run / "step_2_1" / "model.keras")
        read_step(run / "step_2_1")
        with RunDirectory(run, identity) as opened:
            found = opened.step("step_2_1", lambda _: {}, config=asked)
        records_text({"step_2_1": found})
        return True

    return attempt


def weights_file(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """An HDF5 file of these tensors."""
    import h5py

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name, shape in shapes.items():
            file.create_dataset(name, data=np.ones(shape, np.float32))
    return stream.getvalue()


def archive_of(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _damaged_model(members: Mapping[str, bytes], chance: random.Random) -> bytes:
    """The file, or one of its members in a sound zip, damaged; HDF5's structure comes first."""
    if not chance.randrange(3):
        return zipped(members, chance)
    name = chance.choice((WEIGHTS, WEIGHTS, CONFIG))
    content = members[name]
    if name == CONFIG:
        content = text_of(json.loads(content), chance)
    else:
        end = chance.choice((2000, len(content)))
        content = damaged(content[:end], chance) + content[end:]
    return archive_of({**members, name: content})


def archives(folder: Path) -> Attempt:
    """What is looked at in a .keras file before Keras sees it."""
    from compressor.models.files import data_digest, optimizer_variables

    names = ("layers/dense/vars/0", "layers/dense/vars/1", "optimizer/vars/0", "optimizer/vars/1")
    members = {
        "metadata.json": b'{"keras_version": "3.0.0"}',
        CONFIG: b'{"module": "keras", "class_name": "Sequential", "config": {"layers": []}}',
        WEIGHTS: weights_file(dict(zip(names, ((4, 3), (3,), (4, 3), ()), strict=True))),
        "compressor.json": b'{"data": "abc"}',
    }
    path = folder / "any.keras"

    def attempt(chance: random.Random) -> bool:
        path.write_bytes(_damaged_model(members, chance))
        optimizer_variables(path)
        return data_digest(path) is not None

    path.write_bytes(archive_of(members))
    assert optimizer_variables(path) == 12
    return attempt


def models(folder: Path) -> Attempt:
    """.keras files, which Keras makes models of."""
    from compressor.foundation import quiet_tensorflow
    from compressor.models.files import load_model, optimizer_variables

    _, keras = quiet_tensorflow.load()
    path = folder / "any.keras"
    layers = [keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    model.compile(loss="mse", optimizer="sgd", metrics=["mae"])
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def attempt(chance: random.Random) -> bool:
        keras.backend.clear_session()
        path.write_bytes(_damaged_model(members, chance))
        load_model(path)
        optimizer_variables(path)
        return True

    load_model(path)
    return attempt


def _checkpoint(config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a sparse checkpoint of one layer, 4 x 3."""
    from compressor.encodings import SparseKernel

    kernel = np.array([[0, 5, 0], [7, 0, 0], [0, 8, 9], [0, 0, 0]], np.float32)
    description = {
        **{"schema": "compressor.sparse-checkpoint", "schema_version": 1, "data": None},
        **{"config": config, "sparse": {"a": [4, 3]}},
    }
    return {
        "model": np.frombuffer(json.dumps(description).encode(), np.uint8),
        **{
            f"sparse/a/{key}": stream for key, stream in SparseKernel.encode(kernel).streams.items()
        },
        "dense/a/bias": np.ones(3, np.float32),
    }


def _damaged_checkpoint(sound: Mapping[str, np.ndarray], chance: random.Random) -> bytes:
    """A file of arrays one of which is damaged in its values, its header or its description."""
    members, kind = members_of(**sound), chance.randrange(5)
    if kind == 0:
        return zipped(members, chance)
    if kind == 1:
        description = text_of(json.loads(sound["model"].tobytes()), chance)
        members["model.npy"] = npy_of(np.frombuffer(description, np.uint8))
        return archive_of(members)
    name = chance.choice([name for name in sound if name != "model"])
    if kind == 2:
        members[f"{name}.npy"] = npy(chance)
    else:
        stream = bytearray(sound[name].tobytes())
        for _ in range(chance.randrange(1, 4)):
            stream[chance.randrange(len(stream))] = chance.choice((0, 1, 2, 3, 127, 128, 255))
        changed = np.frombuffer(bytes(stream), sound[name].dtype).reshape(sound[name].shape)
        members[f"{name}.npy"] = npy_of(changed[: chance.choice((None, None, 2))])
    return archive_of(members)


def checkpoints(folder: Path) -> Attempt:
    """A sparse checkpoint is refused, or each kernel is the one way to encode its tensor."""
    from compressor.encodings import SparseKernel
    from compressor.experiment.paper_checkpoint import read_sparse_checkpoint

    sound, path = _checkpoint({"class_name": "Sequential"}), folder / "sparse.npz"

    def attempt(chance: random.Random) -> bool:
        path.write_bytes(_damaged_checkpoint(sound, chance))
        for kernel in read_sparse_checkpoint(path).sparse.values():
            if np.prod(kernel.shape) < 2**16:
                again = SparseKernel.encode(kernel.dense()).streams
                assert all(kernel.streams[key].tobytes() == again[key].tobytes() for key in again)
        return True

    path.write_bytes(archive_of(members_of(**sound)))
    read_sparse_checkpoint(path)
    return attempt


def predictors(folder: Path) -> Attempt:
    """Sparse checkpoints, which Keras makes models of."""
    from compressor.experiment.predictors import load_predictor
    from compressor.foundation import quiet_tensorflow

    _, keras = quiet_tensorflow.load()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a")])
    sound = _checkpoint(keras.saving.serialize_keras_object(model))
    path = folder / "sparse.npz"

    def attempt(chance: random.Random) -> bool:
        keras.backend.clear_session()
        path.write_bytes(_damaged_checkpoint(sound, chance))
        load_predictor(path)
        return True

    path.write_bytes(archive_of(members_of(**sound)))
    load_predictor(path)
    return attempt


_Prepare = Callable[[Path], Attempt]


def _with_keras(prepare: _Prepare) -> Target:
    return Target(prepare, 0.2, memory=1024 * MIB, quick=0, chatty=True)


TARGETS: dict[str, Target] = {
    "results": Target(results, 2, quick=100),
    "benches": Target(benches, 2, quick=100),
    "records": Target(records, 1, quick=100),
    "keras-archives": Target(archives, 4),
    "checkpoints": Target(checkpoints, 5, quick=400),
    "keras-models": _with_keras(models),
    "keras-predictors": _with_keras(predictors),
}
