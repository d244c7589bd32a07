"""Answers of runners, which may be hostile: every field is of its type and within its bounds."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runner_answers import GPU, HONEST, PORT, PROBED, REQUESTS

from compressor.runtimes.answers import Refusal, longest_line, read_answer, read_outputs
from deploy.errors import DeployError


def answer(op: str, **changes: Any) -> bytes:
    return json.dumps({"ok": True, **HONEST[op], **changes}).encode()


@pytest.mark.parametrize("op", HONEST)
def test_an_honest_answer_is_read(op) -> None:
    assert read_answer(answer(op), REQUESTS[op]) is not None


def test_a_refusal_is_read() -> None:
    line = b'{"ok": false, "kind": "engine", "error": "a\\u001b[2J\\u202eb"}'

    assert read_answer(line, REQUESTS["load"]) == Refusal("engine", r"a\x1b[2J\u202eb")


HUGE = 10**400
WRONG: list[tuple[str, str, list[Any]]] = [
    ("probe", "version", [5, None, "x" * 10**5, "\ud800", [], {}, True]),
    ("probe", "device", [5, [], {}, {**GPU}, {**PROBED["device"], "memory_bytes": -1}]),
    ("load", "runtime", ["onnxruntime", None]),
    ("load", "threads", [1, HUGE, 2.0, "2"]),
    ("load", "cpus", [5, [-1], [HUGE], [True], ["0"], [0] * 10**5]),
    ("load", "import_ms", [-1, -1e300, 1e300, HUGE, "1", True, None]),
    ("load", "load_ms", [-1e-9, 1e13]),
    ("load", "delegate", [5, {}, {"name": "X", "nodes": -5, "of": 2}, {"name": "X"}]),
    ("load", "inputs", [None, {}, [{}], [5], [{**PORT, "more": 1}], [PORT] * 5000]),
    ("load", "inputs", [[{**PORT, "shape": wrong}] for wrong in (5, [-1], [1e300], [1] * 99)]),
    ("load", "inputs", [[{**PORT, "dtype": wrong}] for wrong in ("O", "float80", 5, [])]),
    ("load", "inputs", [[{**PORT, "scale": wrong}] for wrong in (-1, "1", HUGE)]),
    ("load", "inputs", [[{**PORT, "name": wrong}] for wrong in (5, "\udfff", "x" * 10**5)]),
    ("load", "more", [1, None]),
    ("predict", "shape", [5, [-1], [1e3], [True], [[]], [1] * 99]),
    ("check", "passed", [False, 1, "true"]),
    ("check", "difference", [0.3, -1, None, HUGE, "0"]),
    ("check", "tolerance", [0.0, -1, None]),
    ("check", "examples", [0, -1, 1.5]),
    ("warm_up", "first_ns", [-1e300, -5, 0, True, 1.5, "5", 10**300, None]),
    ("warm_up", "median_ns", [-1.0, "5", 1e300]),
    ("warm_up", "timer_ns", [-1, 1e308, HUGE]),
    ("warm_up", "runs", [0, -1, HUGE]),
    ("warm_up", "settled", ["yes", 1, None]),
    ("warm_up", "peak_memory_bytes", [-1, 2**80, 1.0]),
    ("warm_up", "device_memory_bytes", [[], -1]),
    ("measure", "ns", [[], [5, 6], [5, 6, 7, 8], [0, 1, 2], [5, 6, -7], [5, 6, HUGE], {}, None]),
    ("measure", "ns", [[5, 6, 7.5], [5, 6, "7"], [5, 6, True], [5, 6, None], [[5, 6, 7]]]),
    ("stream", "examples", [-3, 0, 4, 1.5, HUGE]),
    ("stream", "ns", [0, -1, 10**18, [5]]),
]


@pytest.mark.parametrize(
    ("op", "key", "value"), [(op, key, value) for op, key, values in WRONG for value in values]
)
def test_a_field_that_is_none_is_refused(op, key, value) -> None:
    with pytest.raises(DeployError) as refused:
        read_answer(answer(op, **{key: value}), REQUESTS[op])

    assert str(refused.value).isprintable() and len(str(refused.value)) <= 1000


@pytest.mark.parametrize("op", HONEST)
def test_no_field_may_be_missing_or_come_twice(op) -> None:
    for key in HONEST[op]:
        rest = {name: value for name, value in HONEST[op].items() if name != key}
        with pytest.raises(DeployError, match="missing"):
            read_answer(json.dumps({"ok": True, **rest}).encode(), REQUESTS[op])
        twice = answer(op)[:-1] + b', "' + key.encode() + b'": 1}'
        with pytest.raises(DeployError, match="twice"):
            read_answer(twice, REQUESTS[op])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"hello",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"ok":' * 100_000,
        b"9" * 1_000_000,
        b'{"ok": 1}',
        b'{"ok": NaN}',
        b'{"ok": true, "first_ns": Infinity}',
        b'{"ok": false}',
        b'{"ok": false, "kind": "x", "error": "y"}',
        b'{"ok": false, "kind": [], "error": "y"}',
        b'{"ok": false, "kind": "engine", "error": {}}',
    ],
)
def test_a_line_that_is_no_answer_is_refused(line) -> None:
    with pytest.raises(DeployError):
        read_answer(line, REQUESTS["warm_up"])


@pytest.mark.slow
def test_the_longest_answer_takes_bounded_memory() -> None:
    """However it is filled; the first digit of a long number is refused, not converted."""
    longest = longest_line(REQUESTS["measure"])
    for filling in (b"[],", b"1.5,", b"9"):
        line = b'{"ok": [' + filling * (longest // len(filling)) + b"0]}"
        tracemalloc.start()
        with pytest.raises(DeployError):
            read_answer(line, REQUESTS["measure"])
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
        tracemalloc.stop()


def npy(array: np.ndarray, **header: Any) -> bytes:
    stream = io.BytesIO()
    if not header:
        np.save(stream, array, allow_pickle=True)
        return stream.getvalue()
    fields = {"descr": "<f4", "fortran_order": False, "shape": array.shape, **header}
    text = repr(fields).encode() + b"\n"
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + array.tobytes()


RIGHT = np.arange(24, dtype=np.float32).reshape(6, 4)


def test_outputs_are_read(tmp_path) -> None:
    (tmp_path / "o.npy").write_bytes(npy(RIGHT))

    np.testing.assert_array_equal(read_outputs(tmp_path / "o.npy", (6, 4)), RIGHT)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        npy(RIGHT)[:-1],
        npy(RIGHT) + b"x",
        npy(RIGHT) + bytes(10**6),
        npy(RIGHT.astype(np.float64)),
        npy(RIGHT.astype(object)),
        npy(RIGHT.reshape(4, 6)),
        npy(RIGHT[:5]),
        npy(RIGHT, descr="|O"),
        npy(RIGHT, descr=[("a", "<f4")]),
        npy(RIGHT, shape=(2**40, 4)),
        npy(RIGHT, shape=(-6, -4)),
        npy(RIGHT, shape=(6, 4, True)),
        npy(RIGHT, more=1),
        b"\x93NUMPY\x01\0" + struct.pack("<H", 60_000) + b"(" * 60_000,
        b"\x93NUMPY\x03\0" + struct.pack("<I", 2**31) + b"{}",
        b"PK\x03\x04" + npy(RIGHT),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    ],
)
def test_outputs_that_are_none_are_refused(tmp_path, content) -> None:
    (tmp_path / "o.npy").write_bytes(content)

    with pytest.raises(DeployError) as refused:
        read_outputs(tmp_path / "o.npy", (6, 4))
    assert str(refused.value).isprintable()


def test_outputs_are_neither_a_folder_nor_without_bounds(tmp_path: Path) -> None:
    for path, shape in ((tmp_path, (6, 4)), (tmp_path / "o.npy", (2**40, 2**40))):
        with pytest.raises(DeployError):
            read_outputs(path, shape)
