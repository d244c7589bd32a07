"""What is packed is the code that was exported, and for the processor that it was made for."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import command_line
import pytest
from code_folders import LIBRARY, digits_inputs, digits_network, tie, write_code

from compressor.bundling import devices
from compressor.bundling.code import read_code
from compressor.bundling.code.boards import COMPILER
from compressor.bundling.compatibility import choose
from compressor.bundling.packables import read_packables


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return write_code(tmp_path / "net-c", digits_network(), digits_inputs(4))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("device", ["cortex-m4", "browser"])
@pytest.mark.parametrize("file", ["net.c", "net.h", "net_weights.h", "net_selftest.c"])
def test_a_source_that_was_changed_is_refused_in_a_line(
    file: str, device: str, code: Path, tmp_path: Path
) -> None:
    source = code / file
    source.write_text(source.read_text().replace("1", "2", 1))
    told = command_line.compressor("package", code, "--device", device, "-o", tmp_path / "made")
    assert told.code == 2 and f"was changed since it was exported: {source}" in told.stderr
    assert told.stderr.count("\n") == 1 and not (tmp_path / "made").exists()


def test_a_source_that_the_description_does_not_name_is_refused(code: Path, tmp_path: Path) -> None:
    described = code / "net.so.json"
    content = json.loads(described.read_text())
    del content["code"]["sources"]["net_weights.h"]
    described.write_text(json.dumps(content))
    told = command_line.compressor("package", code, "--device", "browser", "-o", tmp_path / "made")
    assert told.code == 2 and "net_weights.h" in told.stderr


def test_what_is_not_known_of_the_code_is_said(code: Path) -> None:
    described = code / "net.so.json"
    content = json.loads(described.read_text())
    del content["code"]
    described.write_text(json.dumps(content))
    (note,) = read_code(code).notes(devices.find_device("browser"))
    assert "net.so.json is of an older version and names no sources" in note


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("target", "device", "wanted"),
    [
        ("host", "stm32f4", "cortex-m4"),
        ("host", "rp2040", "cortex-m0"),
        ("cortex-m4", "browser", "host"),
        ("cortex-m4", "cortex-m0", "cortex-m0"),
        ("cortex-m0", "rp2040", None),
        ("cortex-m4", "cortex-m7", None),
        ("host", "browser", None),
        ("portable", "stm32f4", None),
    ],
)
def test_code_for_another_processor_is_packed_with_a_note(
    target: str, device: str, wanted: str | None, tmp_path: Path
) -> None:
    code = write_code(tmp_path / "net-c", digits_network(), digits_inputs(4), target)
    notes = read_code(code).notes(devices.find_device(device))
    said = f"was made for the processor {target}; for {device} export it with --format c --for"
    assert len(notes) == int(wanted is not None)
    assert all(f"{said} {wanted}" in note for note in notes)


def test_another_library_beside_it_is_not_taken_for_it(code: Path, tmp_path: Path) -> None:
    other = code / "other.so"
    other.write_bytes(b"another")
    told = command_line.compressor("package", other, "--device", "browser", "-o", tmp_path / "made")
    assert told.code == 2 and f"this library has no description: {other}" in told.stderr
    assert not (tmp_path / "made").exists()


def folders(code: Path, targets: tuple[str, ...], largest: str) -> list[Path]:
    """A folder beside it for each processor, one of which has the largest library here."""
    for target in targets:
        shutil.copytree(code, code.with_name(target))
        tie(code.with_name(target), target)
    library = LIBRARY + LIBRARY
    (code.with_name(largest) / "net.so").write_bytes(library)
    described = code.with_name(largest) / "net.so.json"
    found = {"bytes": len(library), "sha256": hashlib.sha256(library).hexdigest()}
    described.write_text(json.dumps(json.loads(described.read_text()) | found))
    return [code.with_name(target) for target in targets]


@pytest.mark.parametrize(
    ("device", "targets", "wanted"),
    [
        ("stm32f4", ("portable", "host", "cortex-m4", "cortex-m0"), "cortex-m4"),
        ("rp2040", ("cortex-m4", "portable", "cortex-m0"), "cortex-m0"),
        ("cortex-m0", ("host", "cortex-m4", "portable"), "portable"),
        ("browser", ("cortex-m4", "portable", "host"), "host"),
    ],
)
def test_code_for_the_processor_of_the_device_is_preferred_then_portable_code(
    device: str, targets: tuple[str, ...], wanted: str, code: Path
) -> None:
    profile = devices.find_device(device).for_code()
    packables = read_packables(folders(code, targets, wanted), profile, None, {})
    able = [one.artifact for one in packables]
    assert choose(able, profile) is able[targets.index(wanted)]


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"{COMPILER} is not installed")
def test_the_preferred_folder_is_packed_and_named(code: Path, tmp_path: Path) -> None:
    portable, own = folders(code, ("portable", "cortex-m4"), "cortex-m4")
    told = command_line.compressor(
        *("package", portable, own, "--device", "stm32f4", "-o", tmp_path / "made")
    )
    assert told.code == 0, told.stderr
    assert f"left out {portable / 'net.so'}: {own / 'net.so'} is preferred" in told.stdout
    assert "was made for the processor" not in told.stdout
