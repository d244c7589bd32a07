"""Profiles of devices: those that come with the program, and files that nobody vouches for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.bundling import devices
from compressor.errors import UsageError
from deploy.errors import ArtifactError
from deploy.operator_table import find_table
from deploy.profile import PROFILES, DeviceProfile, read_profile

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "devices.md"
CHIPS = ["arduino-nano-33-ble", "cortex-m0", "cortex-m4", "cortex-m7", "rp2040", "stm32f4"]
MICRO = ["esp32-s3-tflm", "nrf52840-tflm", "rp2040-tflm"]
COMPUTERS = [
    *("android-arm64", "browser", "jetson-orin", "linux-gpu", "linux-x86-64"),
    *("raspberrypi-3", "raspberrypi-4"),
]
NAMES = sorted(CHIPS + MICRO + COMPUTERS)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A TOML file of a known profile in which a text was replaced."""

    def write(old: str, new: str, name: str = "raspberrypi-3") -> Path:
        text = (PROFILES / f"{name}.toml").read_text()
        assert text.count(old) >= 1, old
        path = tmp_path / "changed.toml"
        path.write_text(text.replace(old, new, 1))
        return path

    return write


def test_the_known_devices_are_pinned():
    assert sorted(profile.name for profile in devices.known()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_known_profile_is_whole_and_is_what_it_describes(name):
    profile = devices.find_device(name)

    assert profile == read_profile(PROFILES / f"{name}.toml")
    assert DeviceProfile.parse(profile.describe()) == profile
    if name in CHIPS:  # C code has no table of a runtime's operators
        assert profile.microcontroller is not None and profile.operators is None
        return
    # What it has is measured, in its own version.
    table = find_table(profile.runtime, profile.runtime_version)
    assert table is not None
    assert table.version == profile.runtime_version


def test_a_browser_and_an_app_have_no_python_and_a_gpu_device_has_a_gpu():
    assert {profile.name for profile in devices.known() if not profile.pythons} == {
        "android-arm64",
        "browser",
        *CHIPS,
        *MICRO,
    }
    assert {profile.name for profile in devices.known() if profile.gpu} == {
        "jetson-orin",
        "linux-gpu",
    }


def test_a_device_of_ones_own_is_a_file(changed):
    path = changed('name = "raspberrypi-3"', 'name = "my-board"')

    assert devices.find_device(path).name == "my-board"
    assert devices.find_device(str(path)).runtime == "tflite-runtime"


def test_an_unknown_name_is_answered_with_those_that_are_known(rejected):
    message = rejected(UsageError, devices.find_device, "raspberrypi-5")

    assert "raspberrypi-5" in message
    assert all(name in message for name in NAMES)


def test_a_file_that_is_missing_is_said_by_its_name(rejected, tmp_path):
    assert "none.toml" in rejected(UsageError, devices.find_device, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version = 1 }", "version = 2 }", "another schema version: 2"),
        ("compressor-device", "compressor-bundle", "schema.name"),
        ('name = "raspberrypi-3"', 'name = "../up"', "letters, digits and dashes: ../up"),
        ('name = "raspberrypi-3"', 'name = "Board"', "letters, digits and dashes: Board"),
        ('"armhf"', '"mips"', "cpu.architecture is not one of"),
        ("cores = 4", "cores = 0", "cores is not from 1 to 4096"),
        ("cores = 4", "cores = 4.5", "cores is not an integer"),
        ("cores = 4\n", "", "a field is missing: profile.cpu.cores"),
        ("cores = 4", "cores = 4\ncaches = 2", "an unknown field: caches"),
        ("[storage]", "[flash]", "a field is missing: profile.storage"),
        ("available_bytes = 671_088_640", "available_bytes = 2_000_000_000", "available_bytes"),
        ("available_bytes = 671_088_640", "available_bytes = -1", "available_bytes"),
        ('"tflite-runtime"\n', '"tensorflow"\n', "runtime.name is not one of"),
        ('version = "2.14.0"', 'version = "newest"', "not a version like 2.14.0: newest"),
        ('version = "2.14.0"', 'version = "2.14"', "not a version like 2.14.0: 2.14"),
        ('["3.11"]', '["3.13"]', "needs Python 3.11 or older and numpy 1: Python 3.13"),
        ('"1.24.2"', '"2.0.0"', "needs Python 3.11 or older and numpy 1"),
        ('["3.11"]', "[]", "versions and numpy go together"),
        ('["3.11"]', '["2.7"]', "python.versions"),
        ('["3.11"]', '["3.8"]', "the runner needs Python 3.9 or newer: 3.8"),
        (
            'format = "tflite"',
            'format = "onnx"',
            "prefer.format is not the format that tflite-runtime",
        ),
        ('["int8", "dynamic"', '["int9", "dynamic"', "prefer.quantize is not one of"),
        ('["int8", "dynamic"', '["int8", "int8"', "names one twice"),
        ("width_multiple = 8", "width_multiple = 0", "width_multiple"),
        (
            "[python]",
            '[gpu]\nmodel = "x"\nmemory_bytes = 1\n\n[python]',
            "no other runtime may have it: tflite-runtime",
        ),
        ("[python]", "[operators]\nCONV_2D = 0\n\n[python]", "CONV_2D"),
        ("[python]", "[operators]\nCONV_2D = '7'\n\n[python]", "CONV_2D"),
        ("[python]", "[operators]\n'ai.onnx' = 21\n\n[python]", "does not fit tflite: ai.onnx"),
        ("[python]", "[operators]\n\n[python]", "does not fit tflite: it is empty"),
        ("cores = 4", "cores = 8", "has this name, and says something else: raspberrypi-3"),
        ("[cpu]", "[cpu", "not a TOML file"),
        ("[cpu]", "[cpu]\n[cpu]", "not a TOML file"),
    ],
)
def test_a_wrong_profile_is_refused_in_a_line_that_names_file_and_value(
    changed, rejected, old, new, said
):
    path = changed(old, new)
    message = rejected(UsageError, devices.find_device, path)

    assert said in message
    assert path.name in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"cortex-m4"\nclock', '"avr"\nclock', "processor is not one of cortex-m0"),
        ("0x0800_0000", "0x0800_0001", "begins at a multiple of 256"),
        ("0x2000_0000", "0xffff_ff00", "ends within 32 bits"),
        ("262_144", "262_143", "has whole words"),
        ("clock_hz = 84_000_000", "clock_hz = 0", "clock_hz"),
        ('boot = "none"', 'boot = "uboot"', "boot is not one of"),
        ('name = "c"\nversion = "1"', 'name = "c"\nversion = "2"', "of c is 1: 2"),
        ("[python]", "[operators]\nCONV_2D = 1\n\n[python]", "no Python and no"),
    ],
)
def test_a_chip_that_cannot_be_is_refused(changed, rejected, old, new, said):
    text = changed(old, new, "stm32f4").read_text()
    path = changed("[cpu]", "[cpu]", "stm32f4")
    path.write_text(text.replace('name = "stm32f4"', 'name = "my-chip"'))

    assert said in rejected(UsageError, devices.find_device, path)


def test_c_code_needs_a_chip_and_only_c_code_has_one(changed, rejected):
    path = changed("[microcontroller]", "[other]", "stm32f4")
    lines = re.sub(r"\[other\]\n(.+\n)+", "", path.read_text())
    path.write_text(lines)

    assert "c needs profile.microcontroller" in rejected(UsageError, devices.find_device, path)


def test_a_gpu_runtime_without_a_gpu_is_refused(changed, rejected):
    path = changed("[gpu]\nmodel", "[other]\nmodel", "linux-gpu")
    text = re.sub(r"\[other\]\n.*\n.*\n", "", path.read_text())
    path.write_text(text)

    assert "no gpu" in rejected(UsageError, devices.find_device, path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"schema = 1",
        b"a = " + b"[" * 5000 + b"]" * 5000,
        b"#" * 70_000,
        b'schema = { name = "compressor-device", version = 1e400 }',
    ],
    ids=["empty", "no text", "no table", "deep", "too large", "infinite"],
)
def test_hostile_files_are_refused(tmp_path, rejected, content):
    path = tmp_path / "hostile.toml"
    path.write_bytes(content)

    rejected(UsageError, devices.find_device, path)


def test_a_folder_and_a_pipe_are_no_profiles(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path, tmp_path / "pipe.toml"):
        with pytest.raises(ArtifactError, match=r"not a regular file|Is a directory"):
            read_profile(path)


def test_the_example_of_the_documentation_is_a_profile_and_every_device_is_listed(tmp_path):
    text = DOCUMENT.read_text()
    example = text[text.index("```toml") :]
    path = tmp_path / "my-board.toml"
    path.write_text(example[example.index("schema =") : example.index("width_multiple = 8") + 18])

    assert devices.find_device(path).name == "my-board"
    for profile in devices.known():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{profile.name}`")]
        assert f"{profile.runtime} {profile.runtime_version}" in row
    # Every table of the file is in the list of fields.
    described = devices.find_device("linux-gpu").describe()
    for field in described | devices.find_device("stm32f4").describe():
        assert re.search(rf"^\| `\[?{field}\]?` \|", text, re.MULTILINE), field
