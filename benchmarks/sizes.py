"""Bytes and accuracy of our artefacts beside those of the stock tools, on the same weights.

    python -m benchmarks.sizes [--work FOLDER] [--sweep RUN] [--models NAME ...]

Accuracy is measured on all test images, in the runtime, on the file. Each file that loads is kept
in the work folder with its description and check vectors, so that `benchmarks.latency` can time
it. gzip and xz make a form for transport: it must be unpacked before it can be loaded, and then has
the accuracy of what is unpacked.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._record import run_command, save
from benchmarks.export import SPARSITIES
from benchmarks.peers.environments import AI_EDGE_QUANTIZER, ONNXRUNTIME_QUANTIZER, packages
from benchmarks.peers.files import PACKERS, StockFile, stock_files
from benchmarks.tables import print_tables
from compressor import CompressorError, load_dataset
from compressor.data import draw_examples
from compressor.errors import MissingRuntimeError, ModelError, UsageError
from compressor.experiment import load_predictor
from compressor.experiment.paper_checkpoint import write_sparse_checkpoint
from compressor.experiment.predictors import predictor_accuracy
from compressor.exporters import FORMATS, ExportJob, parity
from compressor.exporters.checking import (
    BATCH,
    OTHER_VECTOR_TOLERANCE,
    VECTOR_TOLERANCE,
    VECTORS,
    Checked,
)
from compressor.exporters.description import describe_artifact
from compressor.exporters.reference import run_examples
from compressor.exporters.request import QUANTIZATIONS, ExportedFile, Request
from compressor.foundation import quiet_tensorflow, write_bytes, write_json
from compressor.runs import MODEL, is_finished
from compressor.runtimes import Runner, find
from compressor.runtimes.registry import state
from deploy import CheckVectors
from deploy.artifact import DESCRIPTION_SUFFIX, VECTORS_SUFFIX

MODELS = {
    "dense": "step_1",
    "50 %": "0.5/step_2_2",
    "90 %": "0.9/step_2_2",
    "98 %": "0.98/step_2_2",
}
"""The models by name, and the steps of the sweep that they come from."""
EQUAL = 0.001
"""A peer's accuracy equals ours where it is at most this below, 0 to 1."""
AIMS = ("size", "balanced")
"""What our files are encoded for: the second is the default, and has a row where it differs."""
OURS = "compressor"
PAPER = "the paper's COO checkpoint"

Row = dict[str, Any]


def main() -> None:
    """Make every file, measure, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/sizes"))
    parser.add_argument("--sweep", type=Path, default=Path("runs/export/sweep"))
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    options = parser.parse_args()
    quiet_tensorflow.NativeOutput().hold_back()
    data = load_dataset(None)
    rows = []
    for name, source in sources(options.sweep, options.models).items():
        job = ExportJob(source, data)
        folder = options.work / folder_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        for row in model_rows(job, folder):
            rows.append({"model": name} | row)
            print(line(rows[-1]), flush=True)
    mark(rows)
    save(
        "sizes",
        {
            "examples": len(data.y_test),
            "equal_accuracy": EQUAL,
            "batch": BATCH,
            "peers": {
                found.name: packages(found) for found in (AI_EDGE_QUANTIZER, ONNXRUNTIME_QUANTIZER)
            },
            "rows": rows,
        },
    )
    print_tables("sizes")


def sources(sweep: Path, names: Sequence[str]) -> dict[str, Path]:
    """The models by name; the sweep is made, or finished, where one is not there."""
    steps = {name: sweep / "seed-0" / MODELS[name] for name in names}
    if not all(map(is_finished, steps.values())):
        listed = ",".join(f"{sparsity:g}" for sparsity in SPARSITIES)
        command = f"sweep --preset quick --seeds 0 --sparsities {listed}"
        run_command(*command.split(), "-o", str(sweep))
    return {name: step / MODEL for name, step in steps.items()}


def folder_name(model: str) -> str:
    """The folder of a model's files: 90 for 90 %."""
    return model.removesuffix(" %")


def model_rows(
    job: ExportJob, folder: Path, layers: Sequence[str] = ("fc1", "fc2")
) -> Iterator[Row]:
    """Every file of one model as a row: ours, the stock tools', packed ones, the paper's.

    `layers` are those that the paper's checkpoint holds sparse.
    """
    (calibration,) = job.request("litert", "int8", "size", None).calibration
    for stock in stock_files(job.model, calibration, folder):
        yield stock_row(job, stock, folder)
        yield from packed_rows(stock, folder)
    for old in folder.glob(f"{OURS}-*"):
        old.unlink()
    for file_format, runtime in FORMATS.items():
        for quantize in QUANTIZATIONS:
            made: list[bytes] = []
            for aim in AIMS:
                try:
                    request = job.request(runtime, quantize, aim, None)
                    file = job.build(file_format, request)
                except (ModelError, UsageError):
                    continue  # the format has no such form
                if file.content not in made:
                    yield our_row(job, file_format, request, file, folder)
                made.append(file.content)
    yield checkpoint_row(job, folder, layers)


def our_row(
    job: ExportJob, file_format: str, request: Request, file: ExportedFile, folder: Path
) -> Row:
    """One of our artefacts, exported and checked as `compressor export` does."""
    form = request.quantize + ("" if request.optimize == AIMS[0] else f", {request.optimize}")
    path = folder / f"{OURS}-{form.replace(', ', '-')}.{file_format}"
    checked = job.on_test(job.check(file_format, request, file))
    row = _row(OURS, form, path, request, "artefact")
    if not checked.verdict.passed or checked.vectors is None:
        write_bytes(path, file.content)
        return row | _refused(path, request, f"rejected by its export: {checked.verdict.reason}")
    _write(job, checked, path, None)
    return row | _facts(checked)


def stock_row(job: ExportJob, stock: StockFile, folder: Path) -> Row:
    """A file of a stock tool: made, loaded, run on all test images."""
    path = folder / stock.name
    request = Request(FORMATS[stock.format], stock.quantize)
    row = _row(stock.tool, stock.form, path, request, "artefact")
    for old in (path, *(path.with_name(path.name + end) for end in _SUFFIXES)):
        old.unlink(missing_ok=True)
    try:
        stock.make(path)
        checked = run_file(job, request, path)
    except MissingRuntimeError as error:
        return row | _refused(path, request, f"not made: {error}")
    except CompressorError as error:
        said = "does not load" if path.is_file() else "not made"
        # What the runtime itself said comes last.
        reason = str(error.value or error).rpartition("cannot run the artefact: ")[2]
        return row | _refused(path, request, f"{said}: {reason.rstrip('.')}")
    if not math.isfinite(checked.verdict.difference):
        return row | _refused(path, request, f"loads, and is wrong: {checked.verdict.reason}")
    _write(job, checked, path, stock.tool)
    return row | _facts(checked)


def run_file(job: ExportJob, request: Request, path: Path) -> Checked:
    """Run a file that this project did not write on all test examples of `job`.

    Raises CheckFailedError where the runtime refuses it.
    """
    file_format = path.suffix.removeprefix(".")
    test = job.test or job.reference
    with Runner(request.runtime, threads=1) as runner:
        facts = runner.load(path)
        names = tuple(port["name"] for port in facts["inputs"])
        scores = run_examples(lambda inputs: runner.predict(inputs, batch=BATCH), names, test)
    verdict = parity.judge(scores, test, request.quantize)
    tolerance = VECTOR_TOLERANCE.get(request.quantize, OTHER_VECTOR_TOLERANCE)
    vectors = None
    if len(scores) == len(test.scores):
        shown = draw_examples(test.x, test.labels, VECTORS)
        inputs = test.only(shown).inputs(names, slice(None))
        vectors = CheckVectors(inputs, scores[shown], tolerance * max(verdict.reported.scale, 1e-6))
    file = ExportedFile(path.read_bytes(), names, (), {})
    return Checked(file_format, request, file, verdict, facts, vectors)


def packed_rows(stock: StockFile, folder: Path) -> Iterator[Row]:
    """A stock file in its forms for transport."""
    source = folder / stock.name
    if not source.is_file():
        return
    request = Request(FORMATS[stock.format], stock.quantize)
    # What does not load does not do so unpacked, either.
    loads = source.with_name(source.name + DESCRIPTION_SUFFIX).is_file()
    for packer, pack in PACKERS.items():
        path = source.with_name(f"{source.name}.{packer.split()[0].replace('gzip', 'gz')}")
        path.write_bytes(pack(source.read_bytes()))
        row = _row(stock.tool, f"{stock.form}, {packer}", path, request, "packed")
        reason = "must be unpacked" if loads else "must be unpacked, and does not load then"
        yield row | _refused(path, request, reason) | {"unpacked": source.name}


def checkpoint_row(job: ExportJob, folder: Path, layers: Sequence[str]) -> Row:
    """The paper's sparse checkpoint, run by this project's sparse predictor: no runtime has one."""
    path = folder / "paper-coo.npz"
    assert job.data is not None
    size = write_sparse_checkpoint(job.model, layers, path)
    accuracy = predictor_accuracy(load_predictor(path), job.data)
    return {
        "tool": PAPER,
        "form": " and ".join(layers),
        "format": "npz",
        "quantize": "none",
        "kind": "checkpoint",
        "file": path.name,
        "bytes": size,
        "loads": False,
        "reason": "no runtime takes it; its accuracy is that of compressor's sparse predictor",
        "accuracy": accuracy,
        "runtime": None,
        "version": None,
    }


def mark(rows: Sequence[Row]) -> None:
    """Say of each artefact of ours how it compares with the smallest peer of equal accuracy.

    `beside` has "alike", "loads" and "packed": the smallest of the same model and format among the
    peers that load and have the same type of weights, among all that load, and among those packed
    for transport whose unpacked file loads; with `ratio`, our bytes over its, and `verdict`:
    smaller, equal or larger. None where no such peer is as accurate.
    """
    accuracies = {(row["model"], row["file"]): row["accuracy"] for row in rows}
    for row in rows:
        if row["kind"] == "packed":
            row["accuracy"] = accuracies.get((row["model"], row["unpacked"]))
    for row in rows:
        if row["tool"] != OURS or row["accuracy"] is None:
            continue
        peers = [
            peer
            for peer in rows
            if peer["tool"] != OURS
            and (peer["model"], peer["format"]) == (row["model"], row["format"])
            and peer["accuracy"] is not None
            and peer["accuracy"] >= row["accuracy"] - EQUAL - 1e-9
        ]
        load = [peer for peer in peers if peer["kind"] == "artefact"]
        row["beside"] = {
            "alike": _beside(row, [peer for peer in load if peer["quantize"] == row["quantize"]]),
            "loads": _beside(row, load),
            "packed": _beside(row, [peer for peer in peers if peer["kind"] == "packed"]),
        }


def _beside(row: Row, peers: Sequence[Row]) -> Row | None:
    if not peers:
        return None
    best = min(peers, key=lambda peer: int(peer["bytes"]))
    ours, theirs = row["bytes"], best["bytes"]
    verdict = "equal" if ours == theirs else "smaller" if ours < theirs else "larger"
    named = {name: best[name] for name in ("tool", "form", "bytes", "accuracy")}
    return named | {"ratio": round(ours / theirs, 4), "verdict": verdict}


_SUFFIXES = (DESCRIPTION_SUFFIX, VECTORS_SUFFIX)


def _row(tool: str, form: str, path: Path, request: Request, kind: str) -> Row:
    return {
        "tool": tool,
        "form": form,
        "format": find(request.runtime).format,
        "quantize": request.quantize,
        "kind": kind,
        "file": path.name,
    }


def _facts(checked: Checked) -> Row:
    return {
        "bytes": checked.size,
        "loads": True,
        "reason": None,
        "accuracy": checked.verdict.accuracy,
        "runtime": checked.facts["runtime"],
        "version": checked.facts["version"],
    }


def _refused(path: Path, request: Request, reason: str) -> Row:
    return {
        "bytes": path.stat().st_size if path.is_file() else None,
        "loads": False,
        "reason": reason,
        "accuracy": None,
        "runtime": request.runtime,
        "version": state(request.runtime).version,
    }


def _write(job: ExportJob, checked: Checked, path: Path, tool: str | None) -> None:
    """Write an artefact with its description and vectors; `tool` made it, where it is not ours.

    Unlike `compressor export` it also keeps what is less accurate than the model: a peer's file is
    measured as it is.
    """
    assert checked.vectors is not None
    vectors = checked.vectors.to_bytes()
    artifact = describe_artifact(job, checked, path.name, vectors)
    if tool is not None:
        provenance = dataclasses.replace(artifact.provenance, created_by=tool)
        artifact = dataclasses.replace(artifact, provenance=provenance)
    write_bytes(path, checked.file.content)
    write_bytes(path.with_name(path.name + VECTORS_SUFFIX), vectors)
    write_json(path.with_name(path.name + DESCRIPTION_SUFFIX), artifact.describe())


def line(row: Row) -> str:
    """One row for the terminal."""
    size = "-" if row["bytes"] is None else f"{row['bytes']:,}"
    accuracy = "" if row["accuracy"] is None else f"{100 * row['accuracy']:.2f} %"
    name = f"{row['model']:>5}  {row['tool']}, {row['form']}"
    return f"{name:70} {size:>12} {accuracy:>8}  {row['reason'] or ''}"


if __name__ == "__main__":
    main()
