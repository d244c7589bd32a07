"""Real numbers become the integers of the input in one way, in C and in Python."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from drawn_networks import Drawing

from compressor.bundling.code.folder import Port
from compressor.exporters.c import exporting, reference
from compressor.exporters.c.compiling import compile_library
from compressor.exporters.c.emission import emit
from compressor.exporters.c.network import Lookup, Network
from deploy.compiled import Compiled

COUNT = 2000
SCALES = (0.5, 0.05, 1e-30, 3.0)


def same(scale: float, zero: int) -> Network:
    """A network that gives back the integers of its input."""
    drawing = Drawing(1)
    drawing.tensors[0] = dataclasses.replace(
        drawing.tensors[0], shape=(1, 1, COUNT), scale=scale, zero=zero
    )
    table = np.arange(-128, 128).astype(np.int8)
    drawing.add((1, 1, COUNT), lambda output, _: Lookup((0,), output, table), zero)
    drawing.tensors[1] = dataclasses.replace(drawing.tensors[1], scale=1.0)
    return drawing.network()


@pytest.mark.parametrize("scale", SCALES)
def test_python_rounds_as_the_code_does(scale: float, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("there is no C compiler")
    zero, random = -3, np.random.default_rng(2)
    halves = np.arange(-300, 300) / 2
    near = np.nextafter(np.float32(halves), np.float32(np.inf))
    odd = [np.nan, np.inf, -np.inf, 3e38, -3e38, -0.0]
    parts = [halves, near, -near, random.uniform(-200, 200, COUNT - 1806)]
    values = np.append(np.concatenate(parts) * scale, odd).astype(np.float32).reshape(1, -1)
    network = same(scale, zero)
    nothing = np.zeros((1, 1, 1, COUNT), np.int8)
    library = tmp_path / "net.so"
    vectors = (nothing, reference.run(network, nothing))
    library.write_bytes(compile_library(emit(network, "net", "portable", "size", vectors)))
    found = Compiled(library).run(values.reshape(1, 1, 1, -1)).reshape(-1) + zero
    assert np.array_equal(found, Port(scale, zero).levels(values).reshape(-1))
    examples: Any = SimpleNamespace(inputs=lambda *_: {"input": values})
    assert np.array_equal(found, exporting._levels(examples, network).reshape(-1))
