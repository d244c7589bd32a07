"""C code as firmware: a project that builds and proves itself, and a library for Arduino."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pytest
from code_folders import digits_inputs, digits_network, write_code
from drawn_networks import drawn_network

import compressor
from benchmarks import _cortex_m
from compressor.bundling import devices
from compressor.bundling.code import boards, firmware_project, read_code
from compressor.errors import MissingRuntimeError, RunDirectoryError, UsageError
from compressor.exporters.c.network import Dense, Network
from deploy.profile import PROFILES

CHIPS = [profile.name for profile in devices.known() if profile.microcontroller]
needs_compiler = pytest.mark.skipif(
    shutil.which(boards.COMPILER) is None, reason=f"{boards.COMPILER} is not installed"
)
needs_board = pytest.mark.skipif(
    bool(_cortex_m.missing()), reason=f"not installed: {_cortex_m.missing()}"
)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code") / "net-c"
    return write_code(folder, digits_network(), digits_inputs(4), "cortex-m4")


def made(code: Path, device: str | Path, folder: Path) -> dict[str, Any]:
    return compressor.package([code], device, folder)


def run_make(project: Path, *goals: str) -> tuple[int, str]:
    """Its exit code, and all that is said."""
    done = subprocess.run(["make", "-C", project, *goals], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@needs_board
@pytest.mark.parametrize(
    "device",
    ["stm32f4", *(pytest.param(name, marks=pytest.mark.slow) for name in CHIPS if name[0] != "s")],
)
def test_the_project_builds_and_its_self_test_passes(
    device: str, code: Path, tmp_path: Path
) -> None:
    record = made(code, device, tmp_path / "project")
    assert "bytes of flash and" in record["notes"][-1]
    built = (tmp_path / "project" / "model" / "net.bin").read_bytes()
    assert record["artefact"] == "net.bin" and record["artefact_bytes"] == len(built) > 5000
    code_of_exit, said = run_make(tmp_path / "project", "all", "selftest", "check")
    assert code_of_exit == 0 and re.search(r"wrong 0+\n", said), said
    assert re.search(r"vectors 0*2\n", said)
    assert "warning" not in said
    assert (tmp_path / "project" / "build" / "firmware.bin").read_bytes() == built


@needs_compiler
def test_a_change_of_any_file_that_is_read_builds_anew(code: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    made(code, "stm32f4", project)
    (project / "sensor.h").write_text("/* of the user */\n")
    goals = ("build/firmware.bin", "build/selftest.elf")
    assert run_make(project, *goals)[0] == 0
    sources, vectors = project / "arduino/net/src", next(project.rglob("net_selftest.h"))
    own = [project / name for name in ("Makefile", "start.c", "cortex-m.h", "cortex-m.ld")]
    own += [project / "sensor.h", *sources.iterdir()]
    for goal, files in (
        (goals[0], [*own, project / "main.c"]),
        (goals[1], [*own, project / "selftest.c", vectors]),
    ):
        assert run_make(project, "-q", goal)[0] == 0
        for file in files:
            assert run_make(project, "-q", goal, "-W", str(file.relative_to(project)))[0] == 1, file


@needs_compiler
def test_changed_weights_are_in_the_next_program(code: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    made(code, "stm32f4", project)
    assert run_make(project)[0] == 0
    program, before = project / "build/firmware.bin", (project / "build/firmware.bin").read_bytes()
    weights = project / "arduino/net/src/net_weights.h"
    weights.write_text(re.sub(r"(\n    )-?\d+,", r"\g<1>77,", weights.read_text(), count=1))
    os.utime(weights, (program.stat().st_mtime + 2,) * 2)
    assert run_make(project)[0] == 0
    assert program.read_bytes() != before


@needs_board
def test_one_wrong_integer_fails_the_self_test(code: Path, tmp_path: Path) -> None:
    made(code, "cortex-m4", tmp_path / "project")
    vectors = next((tmp_path / "project").rglob("net_selftest.h"))
    head, _, tail = vectors.read_text().partition("outputs[20] = {\n   ")
    first, _, rest = tail.partition(",")
    vectors.write_text(f"{head}outputs[20] = {{\n   {int(first) + 1},{rest}")
    code_of_exit, said = run_make(tmp_path / "project", "check")
    assert code_of_exit != 0 and re.search(r"wrong 0*1\n", said)


@needs_compiler
@pytest.mark.parametrize("name", ["rp2040", "arduino-nano-33-ble"])
def test_the_flash_image_begins_as_the_chip_wants_it(name: str, code: Path, tmp_path: Path) -> None:
    made(code, name, tmp_path / "project")
    image = (tmp_path / "project" / "model" / "net.bin").read_bytes()
    profile = devices.find_device(name)
    chip, start = profile.microcontroller, 256 if name == "rp2040" else 0
    assert chip is not None
    stack, reset = struct.unpack_from("<2I", image, start)
    assert stack == chip.ram_start + profile.memory_bytes
    assert reset % 2 == 1 and start < reset - chip.flash_start < len(image)
    if name == "rp2040":
        remainder = 2**32 - 1
        for byte in image[:252]:
            remainder ^= byte << 24
            for _ in range(8):
                remainder = (remainder << 1) ^ (0x104C11DB7 if remainder >> 31 else 0)
        assert struct.unpack_from("<I", image, 252) == (remainder,)


@needs_compiler
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("262_144", "6_144", "flash 6,"),
        ("65_536", "1_024", "RAM 1,"),
        ("262_144", "2_048", "needs 4,000 bytes of storage at least"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line_before_anything_is_written(
    old: str, new: str, said: str, code: Path, tmp_path: Path
) -> None:
    text = (PROFILES / "stm32f4.toml").read_text().replace('"stm32f4"', '"small"')
    (tmp_path / "small.toml").write_text(text.replace(old, new))
    told = command_line.compressor(
        "package", code, "--device", tmp_path / "small.toml", "-o", tmp_path / "project"
    )
    assert told.code == 2 and said in told.stderr and told.stderr.count("\n") == 1, told.stderr
    assert not (tmp_path / "project").exists()


@needs_compiler
def test_verify_checks_the_folder_and_runs_no_firmware(code: Path, tmp_path: Path) -> None:
    made(code, "cortex-m0", tmp_path / "project")
    assert compressor.verify(tmp_path / "project", static=True)["device"] == "cortex-m0"
    with pytest.raises(MissingRuntimeError, match="firmware is not run here: cortex-m0; make -C"):
        compressor.verify(tmp_path / "project")


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
@needs_compiler
def test_the_arduino_library_compiles_as_c_plus_plus_and_passes(code: Path, tmp_path: Path) -> None:
    made(code, "arduino-nano-33-ble", tmp_path / "project")
    library = tmp_path / "project" / "arduino" / "net"
    assert "name=net\n" in (library / "library.properties").read_text()
    (tmp_path / "sketch.cpp").write_text(
        "#include <iostream>\n"
        "struct Port { void begin(int) {} operator bool() { return true; }\n"
        "  template <class T> void print(T x) { std::cout << x; }\n"
        '  template <class T> void println(T x) { std::cout << x << "\\n"; } } Serial;\n'
        "unsigned long micros() { return 0; }\nvoid delay(int) {}\n"
        '#include "SelfTest.ino"\n'
        "int main_() { setup(); loop(); return 0; }\nint main() { return main_(); }\n"
    )
    sources = [f"-I{library / 'src'}", f"-I{library / 'examples' / 'SelfTest'}"]
    commands = [
        ["gcc", "-c", *sources, library / "src" / "net.c", "-o", "net.o"],
        ["g++", "-Wall", "-Werror", *sources, "sketch.cpp", "net.o", "-o", "sketch"],
    ]
    for command in commands:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    said = subprocess.run([tmp_path / "sketch"], capture_output=True, text=True).stdout
    assert said == "net: 2 check vectors, 0 values wrong, microseconds each: 0\n"


def test_without_the_compiler_it_ends_in_one_line(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match="install gcc-arm-none-eabi"):
        made(code, "cortex-m4", tmp_path / "project")
    assert not (tmp_path / "project").exists()


@pytest.mark.slow
@needs_board
def test_no_name_of_a_model_gets_in_the_way(tmp_path: Path) -> None:
    network = drawn_network(2)
    inputs = np.zeros((2, *network.tensors[network.input].shape), np.int8)
    code = write_code(tmp_path / "code", network, inputs, "cortex-m0", "string")
    made(code, "cortex-m0", tmp_path / "project")
    code_of_exit, said = run_make(tmp_path / "project", "check")
    assert code_of_exit == 0 and "wrong 0000000000" in said, said


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("device", ["cortex-m4", "rp2040"])
def test_no_name_of_a_model_changes_what_it_takes(device: str, tmp_path: Path) -> None:
    network = drawn_network(2)
    inputs = np.zeros((2, *network.tensors[network.input].shape), np.int8)
    profile, pieces = devices.find_device(device), boards.PIECES.glob("*.[ch]")
    names = [path.stem for path in sorted(pieces) if path.stem.isidentifier()]
    assert {"main", "rp2040", "selftest", "start"} <= set(names)
    taken = {
        name: firmware_project(
            read_code(write_code(tmp_path / name, network, inputs, "cortex-m0", name)), profile
        ).taken
        for name in ("net", *names)
    }
    assert set(taken.values()) == {taken["net"]} and taken["net"].stack > 256


@pytest.mark.slow
@needs_board
def test_what_is_too_large_for_the_emulated_board_runs_on_a_larger_one(
    code: Path, tmp_path: Path
) -> None:
    network, rows = digits_network(), 400
    dense = network.layers[1]
    assert isinstance(dense, Dense)
    kernel = np.random.default_rng(0).integers(-127, 128, (rows, 784)).astype(np.int8)
    each = [np.full(rows, values[0]) for values in (dense.rescale.multiplier, dense.rescale.shift)]
    rescale = dataclasses.replace(dense.rescale, multiplier=each[0], shift=each[1])
    wide = dataclasses.replace(dense, kernel=kernel, bias=np.zeros(rows, np.int64), rescale=rescale)
    scores = dataclasses.replace(network.tensors[2], shape=(1, 1, rows))
    large = Network((*network.tensors[:2], scores), (network.layers[0], wide), 0, 2)
    write_code(tmp_path / "large", large, digits_inputs(2), "cortex-m0")
    for folder, machine in ((code, "microbit"), (tmp_path / "large", "mps2-an385")):
        project = tmp_path / machine
        made(folder, "rp2040", project)
        assert f"qemu-system-arm -M {machine} " in (project / "Makefile").read_text()
    code_of_exit, said = run_make(tmp_path / "mps2-an385", "check")
    assert code_of_exit == 0 and "wrong 0000000000" in said, said


@needs_board
def test_a_project_that_was_built_in_is_replaced_and_verified_after_make_clean(
    code: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    made(code, "cortex-m0", project)
    assert run_make(project, "all", "selftest", "check")[0] == 0
    told = command_line.compressor("verify", "--static", project)
    assert told.code == 2 and f"run make clean in {project} first" in told.stderr
    assert told.stderr.count("\n") == 1
    compressor.package([code], "cortex-m0", project, force=True)
    assert not (project / "build").exists()
    assert run_make(project)[0] == run_make(project, "clean")[0] == 0
    assert compressor.verify(project, static=True)["device"] == "cortex-m0"


@needs_compiler
@pytest.mark.parametrize("own", ["sensor.c", "build/notes.txt", "build/mine/firmware.elf"])
def test_what_is_not_built_is_never_replaced(own: str, code: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    made(code, "cortex-m0", project)
    assert run_make(project)[0] == 0
    (project / own).parent.mkdir(exist_ok=True)
    (project / own).write_text("int sensor;")
    with pytest.raises(RunDirectoryError, match="no bundle"):
        compressor.package([code], "cortex-m0", project, force=True)
    assert run_make(project, "clean")[0] == 0
    told = command_line.compressor("verify", "--static", project)
    assert told.code == 2 and own in told.stderr and "make clean" not in told.stderr
    assert (project / own).read_text() == "int sensor;"


@needs_board
@pytest.mark.parametrize("what", ["edited", "linked"])
def test_what_the_user_did_to_a_project_is_never_replaced(
    code: Path, tmp_path: Path, what: str
) -> None:
    project = tmp_path / "project"
    made(code, "cortex-m0", project)
    if what == "edited":
        with (project / "main.c").open("a") as file:
            file.write("/* my sensor */")
    else:
        (project / "mine").symlink_to(tmp_path)
    with pytest.raises(RunDirectoryError, match="added or edited"):
        compressor.package([code], "cortex-m0", project, force=True)
    assert (what == "linked") != ("my sensor" in (project / "main.c").read_text())
    assert (project / "mine").is_symlink() == (what == "linked")


def test_a_device_with_a_runtime_takes_no_c_code(code: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="runs on arduino-nano-33-ble, browser, cortex-m0"):
        made(code, "linux-x86-64", tmp_path / "bundle")
