"""`bench --host` on a device that is broken, or an enemy: every answer is checked field by field.

An `ssh` of our own, first in the PATH, stands in for the device. It answers as a device does, but
for one answer, which a mode alters.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor

from compressor import bench
from compressor.data import Dataset
from compressor.errors import CheckFailedError, CheckpointError, CompressorError
from compressor.measuring.record import keep_run
from compressor.remote import workspace
from compressor.runs import read_bench
from compressor.runtimes.runner import Runner

QUICK: dict[str, Any] = {"rounds": 1, "round_seconds": 0.001, "starts": 1, "time_limit": 60.0}
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
_DEVICE = """\
import io, json, os, struct, sys
{mode}
def npy(rows, header=None, dtype="<f4", shape=None, width=4):
    header = header or repr({{"descr": dtype, "fortran_order": False, "shape": shape or (rows, 4)}})
    text = header.encode() + b"\\n"
    return b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(text)) + text + bytes(rows * width * 4)
LEFT = int(sys.argv[1])
while LEFT:
    LEFT -= len(os.read(0, min(LEFT, 65536)))
PORT = {{"name": "x", "shape": [None, 8, 8], "dtype": "uint8", "scale": None, "zero_point": None}}
MEMORY = {{"peak_memory_bytes": 5}}
ROWS = [0]
def probe(request):
    return {{"version": "1.0", "provider": None, "device": None}}
def load(request):
    return {{"runtime": request["runtime"], "version": "1.0", "provider": None, "device": None,
            "delegate": None, "numpy": "2.0", "python": "3.11", "threads": 1, "cpus": [0],
            "import_ms": 1.0, "load_ms": 2.0, "inputs": [PORT], "outputs": [PORT], **MEMORY}}
def warm_up(request):
    return {{"first_ns": 5000, "runs": 3, "settled": True, "median_ns": 5000.0, "timer_ns": 1.0,
            "call_ns": 2.0, "device_memory_bytes": None, **MEMORY}}
def measure(request):
    return {{"ns": [5000] * request["runs"], "batch": 1, **MEMORY}}
def stream(request):
    return {{"examples": request["runs"], "ns": 5000 * request["runs"]}}
def predict(request):
    ROWS[0] = 6
    return {{"shape": [6, 4], **MEMORY}}
def asked(request):
    answer = {{"ok": True, **globals()[request["op"]](request)}}
    answer = alter(request["op"], answer)
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return {{"ok": True, "answer": text}}
MACHINE = {{"ok": True, "folder": "/there", "governor": None, "load_average": 0.5, "cores": [[0]],
           "machine": {{"cpu": "C", "cores": 1, "memory_bytes": 5, "system": "S"}}}}
while line := sys.stdin.buffer.readline():
    request = json.loads(line)
    op, after = request["op"], b""
    if op == "machine":
        answer = MACHINE
    elif op == "put":
        sys.stdin.buffer.read(request["bytes"])
        answer = {{"ok": True, "path": "/there/" + request["file"]}}
    elif op == "get":
        after = alter("npy", npy(ROWS[0]))
        answer = {{"ok": True, "bytes": len(after)}}
    elif op == "ask":
        answer = asked(request["request"])
    else:
        answer = {{"ok": True}}
    answer = alter("outer " + op, answer)
    line = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    os.write(1, line + b"\\n" + after)
"""


@pytest.fixture()
def enemy(tmp_path, monkeypatch):
    """Let the device alter the answer `at` a request by a Python expression of `answer`."""
    monkeypatch.setattr(workspace, "_EXIT_SECONDS", 0.2)
    folder = tmp_path / "enemy"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    program = folder / "device.py"
    ssh = folder / "ssh"
    words = shlex.join([sys.executable, "-I", "-S", str(program)])
    ssh.write_text(f'#!/bin/sh\nfor last; do :; done\nexec {words} "${{last##* }}"\n')
    ssh.chmod(0o755)

    def alters(at: str, expression: str) -> None:
        mode = f"def alter(at, answer):\n    return ({expression}) if at == {at!r} else answer\n"
        program.write_text(_DEVICE.format(mode=mode))

    alters("nothing", "answer")
    return alters


@pytest.fixture()
def artefact(tmp_path: Path) -> Path:
    path = tmp_path / "any.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    return path


@pytest.fixture(scope="module")
def data() -> Dataset:
    images, labels = np.arange(64 * 12, dtype=np.uint8).reshape(12, 8, 8), np.arange(12) % 4
    return Dataset.from_arrays("any", images, labels, images[:6], labels[:6])


def measured(artefact: Path, data: Dataset) -> Any:
    output = artefact.with_name("bench.json")
    return bench([artefact], host="h", data=data, output=output, **QUICK)


def test_an_honest_device_is_believed(enemy, artefact, data) -> None:
    run = measured(artefact, data)

    assert run["rows"][0]["status"] == "unproven", run["rows"][0]
    assert run["rows"][0]["latency_ms"]["p50"]["value"] == 0.005
    assert run["rows"][0]["examples"] == 6
    assert run["machine"]["cpu"] == "C"


ALTERED = [
    ("load", "{**answer, 'version': 'x' * 10**7}"),
    ("load", "{**answer, 'load_ms': 10**400}"),
    ("load", "{**answer, 'inputs': [{**PORT, 'name': '\\ud800'}]}"),
    ("load", "{'ok': True}"),
    ("load", "'[' * 100_000"),
    ("warm_up", "{**answer, 'first_ns': -1e300}"),
    ("warm_up", '\'{"ok": true, "first_ns": NaN}\''),
    ("measure", "{**answer, 'ns': answer['ns'][1:]}"),
    ("measure", "{**answer, 'ns': [10**300] * len(answer['ns'])}"),
    ("stream", "{**answer, 'examples': -7}"),
    ("predict", "{**answer, 'shape': [5, 4]}"),
    ("predict", "{**answer, 'shape': [6, 2**50]}"),
    ("npy", "answer[:-1]"),
    ("npy", "answer + bytes(10**6)"),
    ("npy", "npy(6, dtype='|O')"),
    ("npy", "npy(6, header='(' * 9000)"),
    ("npy", "b'\\x80\\x04cos\\nsystem\\n.' + answer"),
    ("outer ask", "b'{}'"),
    ("outer ask", "b'[' * 100_000"),
    ("outer ask", "b'\\xff\\xfe'"),
    ("outer ask", "b' ' * 10**7"),
    ("outer ask", "{'ok': True, 'answer': {'ok': True}}"),
    ("outer ask", "{'ok': True, 'ended': 'x', 'said': 'y'}"),
    ("outer ask", "{'ok': True, 'ended': None, 'said': {}}"),
    ("outer put", "{'ok': True, 'path': 5}"),
    ("outer get", "{'ok': True, 'bytes': 2**32}"),
    ("outer start", "sys.exit()"),
]


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("at", "expression"), ALTERED)
def test_an_answer_that_is_none_costs_its_row(enemy, artefact, data, at, expression) -> None:
    enemy(at, expression)

    run = measured(artefact, data)

    (row,) = run["rows"]
    assert row["status"] == "failed" and row["latency_ms"] is None, row
    assert row["reason"].isprintable() and len(row["reason"]) < 2000
    assert any(said in row["reason"] for said in ("protocol", "connection")), row["reason"]
    assert read_bench(artefact.with_name("bench.json"))["runs"][0]["id"] == run["id"]


def test_what_it_answered_does_not_lock_the_file(enemy, artefact, data) -> None:
    enemy("warm_up", "{**answer, 'first_ns': -1e300}")
    measured(artefact, data)
    enemy("nothing", "answer")

    assert measured(artefact, data)["rows"][0]["status"] == "unproven"
    assert len(read_bench(artefact.with_name("bench.json"))["runs"]) == 2


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("at", "expression", "said"),
    [
        ("load", f"{{**answer, 'version': {ESCAPE + 'ü'!r}}}", r"\x1b]0;owned"),
        ("load", "{**answer, 'version': '\\u202e1.0'}", r"\u202e1.0"),
        ("load", "{**answer, 'provider': 'a\\u3164\\nb'}", r"a\u3164\nb"),
        ("outer machine", f"{{**answer, 'governor': {ESCAPE!r}}}", r"\x1b]0;owned"),
        ("load", "{'ok': False, 'kind': 'engine', 'error': '\\u202e\\x1b[2J'}", r"\u202e\x1b[2J"),
        ("outer ask", "{'ok': True, 'ended': 9, 'said': '\\u2028\\x9b2J'}", r"\u2028\x9b2J"),
    ],
)
def test_what_it_says_is_cleaned(enemy, artefact, at, expression, said) -> None:
    enemy(at, expression)
    done = compressor(
        *("bench", artefact, "--host", "h", "--rounds", 1, "--round-seconds", 0.001, "--starts", 1)
    )

    kept = artefact.with_name("bench.json").read_text()
    assert said.replace("\\", "\\\\") in kept
    assert json.loads(kept)
    for shown in (done.stdout, done.stderr):
        assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize(
    "expression",
    [
        "{**answer, 'machine': None}",
        "{**answer, 'machine': {**answer['machine'], 'cpu': 5}}",
        "{**answer, 'machine': {**answer['machine'], 'cpu': 'x' * 10**5}}",
        "{**answer, 'machine': {**answer['machine'], 'cores': '2'}}",
        "{**answer, 'machine': {**answer['machine'], 'cores': -1}}",
        "{**answer, 'machine': {**answer['machine'], 'memory_bytes': 1e300}}",
        "{**answer, 'load_average': -1}",
        "{**answer, 'load_average': 1e300}",
        "{**answer, 'cores': None}",
        "{**answer, 'cores': [[]]}",
        "{**answer, 'cores': [[0], [0]]}",
        "{**answer, 'cores': [[2**70]]}",
        "{**answer, 'cores': [['0']]}",
        "{**answer, 'cores': [0]}",
        "{**answer, 'folder': 5}",
        "b'[' * 100_000",
        "b'\\x00' * 10**7",
        'b\'{"ok": true, "load_average": NaN}\'',
    ],
)
def test_a_machine_that_is_none_ends_it(enemy, artefact, data, rejected, expression) -> None:
    enemy("outer machine", expression)

    message = rejected(CheckFailedError, measured, artefact, data)

    assert message.startswith("the device does not keep to the protocol: h: ")
    assert not artefact.with_name("bench.json").exists()


def test_output_without_end_is_bounded(enemy, artefact, data) -> None:
    """More than any answer has is not held, on this machine either."""
    endless = "[os.write(1, b'9' * 2**16) for _ in range(10**9)]"
    enemy("load", endless)
    (row,) = measured(artefact, data)["rows"]
    assert row["status"] == "failed" and "bytes in a line" in row["reason"]


def test_a_local_runtime_is_held_to_the_same(tmp_path, monkeypatch, rejected) -> None:
    from compressor.runtimes import registry

    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport os\n"
        "while True:\n    os.write(1, b'9' * 2**16)\n    os.write(2, b'x' * 100)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(registry, "python_of", lambda name: str(program))
    with Runner("litert") as runner:
        message = rejected(CheckFailedError, runner.probe)
    assert "too long" in message


def test_values_that_the_document_has_no_room_for_cost_their_row(enemy, artefact, data) -> None:
    """Each is within its own bounds; what is computed of them is not."""
    enemy("stream", "{**answer, 'examples': 2**40 * answer['examples'], 'ns': 1}")

    (row,) = measured(artefact, data)["rows"]

    assert row["status"] == "failed"
    assert "row.throughput" in row["reason"]
    read_bench(artefact.with_name("bench.json"))


def test_a_difference_that_is_no_number_is_kept(tmp_path) -> None:
    from bench_documents import bench_document

    (run,) = bench_document()["runs"]
    run["rows"][0]["check"] |= {"passed": False, "difference": None}
    keep_run(tmp_path / "bench.json", run)
    run["rows"][0]["check"] |= {"difference": 6.8e38}
    keep_run(tmp_path / "bench.json", run)

    (kept,) = read_bench(tmp_path / "bench.json")["runs"]
    assert kept["rows"][0]["check"]["difference"] == 6.8e38


def test_a_run_that_is_not_valid_is_not_written(tmp_path, rejected) -> None:
    from bench_documents import bench_document

    (run,) = bench_document()["runs"]
    path = tmp_path / "bench.json"
    keep_run(path, run)
    before = path.read_bytes()
    first = {"p50": -1e294, "samples": 1}
    row = {**run["rows"][0], "first_ms": first}

    rejected(CheckpointError, keep_run, path, {**run, "rows": [row]})

    assert path.read_bytes() == before


def test_a_file_that_is_bad_already_says_what_to_do(enemy, artefact, data, rejected) -> None:
    from bench_documents import bench_document

    document = bench_document()
    document["runs"][0]["rows"][0]["first_ms"]["p50"] = -1e294
    path = artefact.with_name("bench.json")
    path.write_text(json.dumps(document))

    message = rejected(CompressorError, measured, artefact, data)

    assert "first_ms" in message and "bench.json" in message
    assert message.endswith("; move that file away, or name another one with -o FILE")


def test_a_name_that_is_no_text_does_not_lock_the_file(enemy, artefact, data) -> None:
    odd = artefact.with_name("odd-\udcff.tflite")
    odd.write_bytes(artefact.read_bytes())
    output = artefact.with_name("bench.json")
    bench([odd], host="h", data=data, output=output, **QUICK)

    assert measured(artefact, data)["rows"][0]["status"] == "unproven"
    assert len(read_bench(output)["runs"]) == 2
