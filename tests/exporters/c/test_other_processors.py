"""Networks drawn at random on other processors: every integer is that of the reference."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from drawn_networks import drawn_network, packable_network, wide_network

from compressor.bundling.code import boards
from compressor.exporters.c import reference
from compressor.exporters.c.emission import TARGETS, emit
from compressor.exporters.c.narrowing import narrow
from compressor.exporters.c.network import Network
from compressor.runtimes import ZIGLANG, zig_cc

COMPUTERS = {
    "aarch64": ("qemu-aarch64-static", "aarch64-linux-musl"),
    "armhf": ("qemu-arm-static", "arm-linux-musleabihf"),
}
WARNINGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")


def written(seed: int, target: str, folder: Path) -> list[Path]:
    """The code and the self-test of a network: convolutions and poolings, or anything."""
    network = drawn_network(100 + seed) if seed % 3 else narrow(packable_network(100 + seed))
    return emitted(network, seed, target, folder)


def emitted(network: Network, seed: int, target: str, folder: Path) -> list[Path]:
    """The code and the self-test of a network."""
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(seed).integers(-128, 128, (4, *shape)).astype(np.int8)
    inputs[1, : shape[0] // 2] = -128  # rows of zeros are passed over
    vectors = (inputs, reference.run(network, inputs))
    source = emit(network, "drawn", target, ("size", "latency")[seed % 2], vectors)
    for name, text in source.files.items():
        (folder / name).write_text(text)
    return [folder / "drawn.c", folder / "drawn_selftest.c"]


def ran(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_it_is_bit_exact_on_this_machine(compiler: str, seed: int, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    sources = written(seed, TARGETS[seed % len(TARGETS)], tmp_path)
    ran(compiler, *WARNINGS, *sources, "-o", tmp_path / "selftest")
    assert "0 values wrong" in ran(tmp_path / "selftest")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the C libraries, which Zig compiles once."""
    return tmp_path_factory.mktemp("cache")


needs_zig = pytest.mark.skipif(
    bool(ZIGLANG.missing()), reason="ziglang is not installed: compressor runtimes install ziglang"
)


@pytest.mark.slow
@needs_zig
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("computer", COMPUTERS)
def test_it_is_bit_exact_on_an_arm_computer(
    computer: str, seed: int, cache: Path, tmp_path: Path
) -> None:
    emulator, target = COMPUTERS[computer]
    if shutil.which(emulator) is None:
        pytest.skip(f"{emulator} is not installed: run scripts/install-emulators.sh")
    sources = written(seed, TARGETS[seed % len(TARGETS)], tmp_path)
    names = [source.name for source in sources]
    zig_cc(["-target", target, "-static", *WARNINGS, *names, "-o", "selftest"], tmp_path, cache)
    assert "0 values wrong" in ran(emulator, tmp_path / "selftest")


@needs_zig
@pytest.mark.parametrize("optimize", ["size", "latency"])
def test_an_arm_computer_multiplies_eight_lanes_at_once(optimize: str, tmp_path: Path) -> None:
    network = narrow(packable_network(0, most_stride=1))
    emitted(network, ("size", "latency").index(optimize), "host", tmp_path)
    arguments = ["-target", "aarch64-linux-musl", "-std=c99", "-O3", "-S", "drawn.c"]
    zig_cc([*arguments, "-o", "drawn.s"], tmp_path, tmp_path / "cache")
    code = (tmp_path / "drawn.s").read_text()
    of_maps = code[code.index("add_products") :]
    assert len(re.findall(r"\tmla\tv\d+\.8h", of_maps)) >= 8
    assert re.search(r"\tumax\tv\d+\.8h", of_maps)  # the pooling


@pytest.mark.slow
@needs_zig
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_whole_maps_in_vectors_are_bit_exact_on_an_arm_computer(
    seed: int, wide: bool, cache: Path, tmp_path: Path
) -> None:
    emulator, target = COMPUTERS["aarch64"]
    if shutil.which(emulator) is None:
        pytest.skip(f"{emulator} is not installed: run scripts/install-emulators.sh")
    network = wide_network(seed) if wide else narrow(packable_network(seed, most_stride=1))
    code, _ = emitted(network, 1 if wide else seed, "host", tmp_path)
    assert f"convolve{'_wide' * wide}_map" in code.read_text()
    flags = ["-target", target, "-static", *WARNINGS, "-O3", "drawn.c", "drawn_selftest.c"]
    zig_cc([*flags, "-o", "selftest"], tmp_path, cache)
    assert "0 values wrong" in ran(emulator, tmp_path / "selftest")


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, (boards.COMPILER, "qemu-system-arm"))),
    reason=f"{boards.COMPILER} or qemu-system-arm is not installed",
)
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("processor", ["cortex-m4", "cortex-m7", "cortex-m0plus"])
def test_it_is_bit_exact_on_a_board(processor: str, seed: int, tmp_path: Path) -> None:
    board = boards.EMULATED[processor]
    code, _ = written(seed, "cortex-m0" if "0" in processor else "cortex-m4", tmp_path)
    named = {"SELFTEST": '"drawn_selftest.c"', "RUN": "drawn_run"}
    for macro, end in (("INPUTS", "INPUT"), ("OUTPUTS", "OUTPUT"), ("WORKSPACE", "WORKSPACE")):
        named[macro] = f"DRAWN_{end}_SIZE"
    options = ["-O2", f"-I{tmp_path}", *(f"-D{key}={value}" for key, value in named.items())]
    program = tmp_path / "selftest.elf"
    sources = [boards.PIECES / "selftest.c", code]
    boards.build(program, sources, processor, board.memory, options)
    quiet = ("-nographic", "-semihosting-config", "enable=on,target=native")
    said = ran("qemu-system-arm", "-M", board.machine, *quiet, "-kernel", program)
    assert "wrong 0000000000\n" in said and "vectors 0000000004" in said
