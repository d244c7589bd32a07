"""Generated C code on emulated Cortex-M boards: every integer is that of the reference."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest
from drawn_networks import Drawing, drawn_network, packable_network

from benchmarks import _cortex_m
from compressor.bundling.code import boards
from compressor.exporters.c import reference
from compressor.exporters.c.emission import emit
from compressor.exporters.c.narrowing import narrow
from compressor.exporters.c.network import Convolution, Network, Rescale

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
needs_board = pytest.mark.skipif(
    bool(_cortex_m.missing()), reason=f"not installed: {_cortex_m.missing()}"
)


def counted(
    network: Network, target: str, folder: Path, optimize: str = "size"
) -> _cortex_m.Counted:
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(0).integers(-128, 128, (3, *shape)).astype(np.int8)
    source = emit(network, "net", target, optimize, (inputs, reference.run(network, inputs)))
    for name, text in source.files.items():
        (folder / name).write_text(text)
    return _cortex_m.count(folder, "net", target, folder / "firmware.elf")


@pytest.mark.sampled(1)
@needs_board
@pytest.mark.parametrize("target", _cortex_m.TARGETS)
@pytest.mark.parametrize("seed", [2, 5])
def test_a_drawn_network_is_bit_exact_on_a_board(seed: int, target: str, tmp_path: Path) -> None:
    found = counted(drawn_network(seed), target, tmp_path)
    assert (found.wrong, found.vectors) == (0, 3)
    assert 500 < found.flash < 60_000 and found.instructions > 1000 and found.stack < 4096


@pytest.mark.slow
@needs_board
@pytest.mark.parametrize("target", _cortex_m.TARGETS)
def test_packed_sums_are_bit_exact_on_a_board_and_take_fewer_instructions(
    target: str, tmp_path: Path
) -> None:
    network = packable_network(4)
    plain = counted(network, target, tmp_path)
    packed = counted(narrow(network), target, tmp_path)
    assert plain.wrong == packed.wrong == 0
    assert packed.instructions < 0.7 * plain.instructions


def thin_network(rows: int = 5) -> Network:
    """A packed convolution of 8 filters with one weight in each row of a filter."""
    drawing = Drawing(0, positive=True)
    drawing.tensors[0] = dataclasses.replace(drawing.tensors[0], shape=(28, 28, 1))
    kernel = np.zeros((8, rows, 5, 1), np.int8)
    kernel[:, :, 2] = 3
    drawing.add(
        (28, 28, 8),
        lambda output, zero: Convolution(
            *((0,), output, kernel, np.zeros(8, np.int64), drawing.rescale(kernel[:, :4], zero)),
            *((1, 1), (1, 1), (0, 2), 1),
        ),
    )
    return narrow(drawing.network())


@pytest.mark.slow
@needs_board
def test_a_row_of_a_filter_costs_little_beside_its_weights(tmp_path: Path) -> None:
    found = [counted(thin_network(rows), "cortex-m4", tmp_path, "latency") for rows in (4, 5)]
    assert not any(one.wrong for one in found)
    # The fifth row lies in the map for 24 of 28 rows of the output, twice for its 28 columns. Its
    # weight takes 19 instructions.
    each = (found[1].instructions - found[0].instructions) / (8 * 24 * 2)
    assert each < 34, each


@pytest.mark.sampled(1)
@needs_board
@pytest.mark.parametrize("optimize", ["-O2", "-O3", "-Os"])
def test_the_compiler_of_boards_has_no_warning(optimize: str, tmp_path: Path) -> None:
    counted(thin_network(), "cortex-m4", tmp_path, "latency")
    command = [boards.COMPILER, "-mcpu=cortex-m4", "-mthumb", optimize, *WARNINGS, "-c", "net.c"]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


def pointwise_network(width: int, shift: int = 38) -> Network:
    """A convolution of 1 x 1, 40 channels and 8 filters, whose sums fit no 16 bits."""
    drawing = Drawing(0)
    drawing.tensors[0] = dataclasses.replace(drawing.tensors[0], shape=(20, width, 40))
    kernel = drawing.random.integers(1, 128, (8, 1, 1, 40)).astype(np.int8)
    scales = np.full(8, 2**30 + 12345), np.full(8, shift)
    drawing.add(
        (20, width, 8),
        lambda output, zero: Convolution(
            *((0,), output, kernel, drawing.bias(8), Rescale(*scales, zero, -128, 127)),
            *((1, 1), (1, 1), (0, 0), 1),
        ),
    )
    return drawing.network()


@pytest.mark.slow
@needs_board
def test_a_column_more_costs_no_second_pass(tmp_path: Path) -> None:
    four, five = (counted(pointwise_network(width), "cortex-m4", tmp_path) for width in (4, 5))
    assert four.wrong == five.wrong == 0
    assert five.instructions < 1.5 * four.instructions


@pytest.mark.slow
@needs_board
def test_where_shifts_allow_it_the_lower_half_of_products_costs_nothing(tmp_path: Path) -> None:
    found = [counted(pointwise_network(4, shift), "cortex-m4", tmp_path) for shift in (32, 33, 62)]
    assert not any(one.wrong for one in found)
    # Of each of 640 outputs.
    assert found[1].instructions < found[0].instructions - 640 * 8
