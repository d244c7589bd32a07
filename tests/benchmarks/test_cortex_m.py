"""Generated C code on emulated Cortex-M boards: every integer is that of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drawn_networks import drawn_network, packable_network

from benchmarks import _cortex_m
from compressor.exporters.c import reference
from compressor.exporters.c.emission import emit
from compressor.exporters.c.narrowing import narrow
from compressor.exporters.c.network import Network

needs_board = pytest.mark.skipif(
    bool(_cortex_m.missing()), reason=f"not installed: {_cortex_m.missing()}"
)


def counted(network: Network, target: str, folder: Path) -> _cortex_m.Counted:
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(0).integers(-128, 128, (3, *shape)).astype(np.int8)
    source = emit(network, "net", target, "size", (inputs, reference.run(network, inputs)))
    for name, text in source.files.items():
        (folder / name).write_text(text)
    return _cortex_m.count(folder, "net", target, folder / "firmware.elf")


@needs_board
@pytest.mark.parametrize("target", _cortex_m.BOARDS)
@pytest.mark.parametrize("seed", [2, 5])
def test_a_drawn_network_is_bit_exact_on_a_board(seed: int, target: str, tmp_path: Path) -> None:
    found = counted(drawn_network(seed), target, tmp_path)
    assert (found.wrong, found.vectors) == (0, 3)
    assert 500 < found.flash < 60_000 and found.instructions > 1000 and found.stack < 4096


@needs_board
@pytest.mark.parametrize("target", _cortex_m.BOARDS)
def test_packed_sums_are_bit_exact_on_a_board_and_take_fewer_instructions(
    target: str, tmp_path: Path
) -> None:
    network = packable_network(4)
    plain = counted(network, target, tmp_path)
    packed = counted(narrow(network), target, tmp_path)
    assert plain.wrong == packed.wrong == 0
    assert packed.instructions < 0.7 * plain.instructions
