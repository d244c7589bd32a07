"""Damaged .tflite and .onnx files: each is refused in one line, or read; nothing else happens.

Every file is small and damaged in a way that does not depend on chance. A child process reads them
all, with its memory limited, so that a reader that asks for gigabytes fails here too.
"""

import multiprocessing
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
from artifact_files import sparse_tensor, tflite_bytes, tflite_model
from onnx import helper, numpy_helper

from compressor.errors import CheckpointError
from compressor.foundation import quiet_tensorflow

MEMORY = 200 * 2**20
WORDS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
SHORTS = (0, 1, 2**15, 2**16 - 1)


def tflite_file():
    dense = np.zeros((6, 32), "float32")
    dense[[0, 2, 5], [1, 30, 7]] = 1, -2, 3
    block = np.kron(dense[:, :3] != 0, np.ones((1, 16))).astype("int8")
    return tflite_bytes(
        tflite_model(
            **{
                "fc1/kernel": sparse_tensor(dense, segments="uint8"),
                "fc2/kernel": sparse_tensor(block, blocks={1: 16}, formats="dcd"),
                "bias": np.arange(6, dtype="float32"),
            }
        )
    )


def onnx_file():
    dense = np.zeros((6, 4), "float32")
    dense.ravel()[[1, 5, 20]] = 1, -2, 3
    flat = np.flatnonzero(dense)
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(dense.ravel()[flat], "fc2/kernel"),
        helper.make_tensor("i", 7, [3], flat.tolist()),
        dense.shape,
    )
    arrays = {
        "gaps": np.diff(flat, prepend=0).astype("uint8"),
        "values": dense.ravel()[flat].astype("int8"),
        "axis": np.array(0, "int32"),
        "size": np.array([24]),
        "shape": np.array([6, 4]),
    }
    node = helper.make_node
    graph = helper.make_graph(
        [
            node("Cast", ["gaps"], ["1"], to=6),
            node("CumSum", ["1", "axis"], ["2"]),
            node("Cast", ["values"], ["3"], to=1),
            node("ConstantOfShape", ["size"], ["4"]),
            node("ScatterElements", ["4", "2", "3"], ["5"], axis=0),
            node("Reshape", ["5", "shape"], ["w"], name="decode/gap8/fc1/kernel"),
            node("MatMul", ["x", "w"], ["z"]),
            node("Add", ["z", "fc2/kernel"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, ["N", 6])],
        [helper.make_tensor_value_info("y", 1, ["N", 4])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
        sparse_initializer=[sparse],
    )
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


FILES = {"tflite": tflite_file, "onnx": onnx_file}


def truncated(content, step):
    for size in range(0, len(content), step):
        yield content[:size]


def flipped(content, step):
    for position in range(0, len(content), step):
        for change in (1 << position // step % 8, 0xFF):
            yield content[:position] + bytes([content[position] ^ change]) + content[position + 1 :]


def with_words(content, step):
    for position in range(0, len(content) - 4, step):
        for form, values in (("<I", WORDS), ("<H", SHORTS)):
            for value in values:
                word = struct.pack(form, value)
                yield content[:position] + word + content[position + len(word) :]


def stirred(content, count):
    """Several bytes at once replaced, parts moved, doubled and left out."""
    generator = np.random.default_rng(17)
    for _ in range(count):
        changed = bytearray(content)
        for _ in range(generator.integers(1, 9)):
            start, end = np.sort(generator.integers(0, len(content), 2))
            place = int(generator.integers(0, len(content)))
            what = generator.integers(0, 4)
            if what == 0:
                changed[place : place + 1] = generator.bytes(1)
            elif what == 1:
                changed[place : place + end - start] = content[start:end]
            elif what == 2:
                changed[place:place] = content[start : min(end, start + 64)]
            else:
                del changed[start : min(end, start + 16)]
        yield bytes(changed)


MUTATIONS = {
    "truncated": (truncated, 7, 1),
    "flipped": (flipped, 3, 1),
    "with words": (with_words, 12, 2),
    "stirred": (stirred, 300, 6000),
}


def look_into(kind, content):
    """All that `inspect` does with a file, and the values of every weight."""
    if kind == "tflite":
        from compressor.exporters.tflite.reading import read_tflite, stored_values

        file = read_tflite(content)
        for graph in file.subgraphs:
            for tensor in graph.tensors:
                if tensor.is_constant and tensor.type.dtype:
                    stored_values(file, tensor)
    else:
        from compressor.exporters.onnx.reading import read_onnx, weight_values

        file = read_onnx(content)
        for weight in file.weights:
            weight_values(file, weight)


def check_all(kind, contents, answer):
    """Look into every file; puts (how many were refused, the first that ended otherwise)."""
    from compressor.exporters.onnx import reading  # noqa: F401  what it imports is no file's fault

    look_into(kind, FILES[kind]())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    refused = 0
    for number, content in enumerate(contents):
        try:
            look_into(kind, content)
        except CheckpointError as error:
            refused += 1
            message = str(error)
            if not message.isprintable() or len(message) > 500:
                answer.put((refused, f"{number}: {message!r}"))
                return
        except BaseException as error:
            answer.put((refused, f"{number}: {type(error).__name__}: {error}"))
            return
    answer.put((refused, None))


def outcome(kind, contents, seconds):
    """What `check_all` answers in a process of its own, which may not hang or crash either."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=check_all, args=(kind, contents, answer), daemon=True)
    child.start()
    try:
        return answer.get(timeout=seconds)
    except Exception as error:
        raise AssertionError(f"no answer: exit code {child.exitcode}") from error
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize("kind", FILES)
def test_small_damages(kind):
    content = FILES[kind]()
    damaged = [one for make, step, _ in MUTATIONS.values() for one in make(content, step)]
    refused, wrong = outcome(kind, damaged, 120)
    assert wrong is None
    assert refused > len(damaged) // 4


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("kind", FILES)
def test_many_damages(kind, mutation):
    make, _, step = MUTATIONS[mutation]
    damaged = list(make(FILES[kind](), step))
    refused, wrong = outcome(kind, damaged, 900)
    assert wrong is None and refused


@pytest.mark.slow
def test_damages_of_a_file_of_the_stock_converter(small_net):
    tensorflow, _ = quiet_tensorflow.load()
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(small_net())
    content = converter.convert()
    damaged = [one for make, step, _ in MUTATIONS.values() for one in make(content, 2 * step)]
    refused, wrong = outcome("tflite", damaged, 900)
    assert wrong is None and refused
