"""What `package` advises can be given to `export`."""

from __future__ import annotations

import json
from pathlib import Path

import command_line
import pytest
from descriptions import CONTENT, DESCRIPTION

from compressor.bundling import compatibility, devices
from compressor.exporters.c import TARGETS
from compressor.runtimes import find

PROFILES = (*devices.known(), *(profile.for_code() for profile in devices.known()))


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_device_is_exported_for_with_options_that_exist(profile) -> None:
    first, chosen, second, runtime = compatibility.export_options(profile).split()
    assert (first, chosen, second) == ("--format", profile.format, "--for")
    if chosen == "c":
        assert runtime in TARGETS
    else:
        assert find(runtime).format == chosen


@pytest.mark.parametrize(
    ("device", "options"),
    [
        ("cortex-m4", "--format c --for cortex-m4"),
        ("rp2040", "--format c --for cortex-m0"),
        ("rp2040-tflm", "--format tflite --for tflite-micro"),
        ("browser", "--format onnx --for onnxruntime-web"),
        ("linux-x86-64", "--format onnx --for onnxruntime"),
    ],
)
def test_they_are_those_of_the_profile(device: str, options: str, tmp_path: Path) -> None:
    (tmp_path / "digits.tflite").write_bytes(CONTENT)
    (tmp_path / "digits.tflite.check.npz").write_bytes(b"vectors")
    (tmp_path / "digits.tflite.json").write_text(json.dumps(DESCRIPTION))
    told = command_line.compressor(
        *("package", tmp_path / "digits.tflite"), *("--device", device, "-o", tmp_path / "made")
    )
    assert told.code == 2 and f"export one for it with {options}\n" in told.stderr
    assert compatibility.export_options(devices.find_device(device)) == options
