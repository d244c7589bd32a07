"""Graphs that once gave code that overflowed, did not compile, or ended in a traceback."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_networks import Drawing

from compressor.errors import ModelError
from compressor.exporters.c import headers, reference
from compressor.exporters.c.emission import emit
from compressor.exporters.c.narrowing import narrow
from compressor.exporters.c.network import Convolution, Network
from compressor.exporters.c.reading import read_network
from compressor.exporters.c.text import identifier
from compressor.exporters.tflite import graph as graphs

STRICT = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


def run_on_itself(network: Network, target: str, folder: Path) -> str:
    """What the self-test of the code says, compiled strictly and with sanitizers."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(3).integers(-128, 128, (2, *shape)).astype(np.int8)
    source = emit(network, "net", target, "size", (inputs, reference.run(network, inputs)))
    for name, text in source.files.items():
        (folder / name).write_text(text)
    sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    files = ("-o", "selftest", "net_selftest.c", "net.c")
    built = subprocess.run(
        [compiler, *STRICT, *sanitize, *files], cwd=folder, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    done = subprocess.run(["./selftest"], cwd=folder, capture_output=True, text=True)
    return done.stdout + done.stderr


def packed(height: int, width: int, channels: int, rows: int, groups: int = 1) -> Network:
    """One packed convolution of a map that holds nothing below its zero, and a Dense layer."""
    drawing = Drawing(1, positive=True)
    drawing.tensors[0] = dataclasses.replace(drawing.tensors[0], shape=(height, width, channels))
    filters = groups if groups > 1 else 4
    kernel = drawing.weights(filters, rows, 3, channels // groups)
    drawing.add(
        (height - rows + 1, width - 2, filters),
        lambda output, zero: Convolution(
            *((0,), output, kernel, drawing.bias(filters), drawing.rescale(kernel, zero)),
            *((1, 1), (1, 1), (0, 0), groups),
        ),
    )
    found = narrow(drawing.network())
    assert any(getattr(layer, "packed", False) for layer in found.layers)
    return found


@pytest.mark.sampled(1)
@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m0", "portable"])
def test_a_row_of_more_values_than_16_bits_count(target: str, tmp_path: Path) -> None:
    assert "0 values wrong" in run_on_itself(packed(3, 300, 240, 3, groups=240), target, tmp_path)


@pytest.mark.parametrize("target", ["cortex-m4", "portable"])
def test_a_window_of_more_rows_than_are_marked(target: str, tmp_path: Path) -> None:
    assert "0 values wrong" in run_on_itself(packed(20, 8, 2, 19), target, tmp_path)


@pytest.mark.parametrize(
    "name", ["test", "string", "Stdint", "all", "math", "features", "signal", "strings", "Endian"]
)
def test_names_that_cmake_or_c_has_are_not_taken(name: str) -> None:
    assert identifier(f"{name}.keras".removesuffix(".keras")) == f"net_{name}"
    assert identifier(f"{name}_2") == f"{name}_2"


def test_no_header_of_a_model_is_found_in_place_of_the_systems(tmp_path: Path) -> None:
    """Whatever the headers of C and of POSIX include here, by <NAME.h>."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    asked = "".join(
        f"#if __has_include(<{name}.h>)\n#include <{name}.h>\n#endif\n"
        for name in (*headers._C, *headers._POSIX)
    )
    (tmp_path / "all.c").write_text(f"#define _GNU_SOURCE\n{asked}")
    done = subprocess.run(
        [compiler, "-H", "-fsyntax-only", "all.c"], cwd=tmp_path, capture_output=True, text=True
    )
    read = {Path(line.split()[-1]) for line in done.stderr.splitlines() if line.startswith(".")}
    names = {path.stem for path in read if path.parent.name == "include"}
    assert {"signal", "stdio", "strings"} <= names
    assert not [name for name in names if identifier(name) == name]


def quantized(keras: Any, build: Any) -> Any:
    """The graph of a stock int8 file, whose input stays float32."""
    tensorflow = pytest.importorskip("tensorflow")
    keras.utils.set_random_seed(0)
    entering = keras.Input((6, 6, 2), batch_size=1)
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(
        keras.Model(entering, build(keras.layers, entering))
    )
    examples = np.random.default_rng(0).random((20, 1, 6, 6, 2)).astype(np.float32)
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([one] for one in examples)
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
    with warnings.catch_warnings(action="ignore"):
        return graphs.read_graph(converter.convert())


def small(layers: Any, entering: Any) -> Any:
    both = layers.Concatenate()([layers.Conv2D(3, 3, padding="same")(entering), entering])
    return layers.Dense(4)(layers.Flatten()(both))


@pytest.mark.parametrize("alike", [True, False])
def test_an_input_that_is_quantized_twice(keras: Any, alike: bool) -> None:
    import copy

    graph = quantized(keras, small)
    before = read_network(graphs.write_graph(graph))
    main = graphs.main(graph)
    first = next(o for o in main.operators if graphs.operator_name(graph, o) == "QUANTIZE")
    twin = copy.deepcopy(main.tensors[first.outputs[0]])
    twin.name = b"again"
    if not alike:
        twin.quantization.scale = twin.quantization.scale * 2
    main.tensors.append(twin)
    again = copy.copy(first)
    again.outputs = np.array([len(main.tensors) - 1], np.int32)
    for operator in main.operators:
        if graphs.operator_name(graph, operator) == "CONV_2D":
            operator.inputs = np.array([again.outputs[0], *operator.inputs[1:]], np.int32)
    main.operators.insert(0, again)

    if not alike:
        with pytest.raises(ModelError, match="quantized twice"):
            read_network(graphs.write_graph(graph))
        return
    found = read_network(graphs.write_graph(graph))

    inputs = np.random.default_rng(1).integers(-128, 128, (5, 6, 6, 2)).astype(np.int8)
    np.testing.assert_array_equal(reference.run(found, inputs), reference.run(before, inputs))


def test_a_bias_with_which_a_sum_leaves_32_bits_is_refused(keras: Any) -> None:
    def build(layers: Any, entering: Any) -> Any:
        return layers.Dense(4, bias_initializer="ones")(layers.Flatten()(entering))

    graph = quantized(keras, build)
    operators = graphs.main(graph).operators
    dense = next(o for o in operators if graphs.operator_name(graph, o) == "FULLY_CONNECTED")
    graphs.set_constant(graph, int(dense.inputs[2]), np.array([2**31 - 1, 0, 1, 2], np.int32))

    with pytest.raises(ModelError, match="32 bits"):
        read_network(graphs.write_graph(graph))
