"""`compressor devices`: what a user sees of the profiles."""

from __future__ import annotations

from command_line import compressor

from deploy.profile import PROFILES


def test_the_devices_are_a_table():
    lines = compressor("devices").stdout.splitlines()

    assert lines[0].split() == ["device", "processor", "memory", "runtime", "Python", "prefers"]
    assert "tflite-runtime 2.14.0" in next(line for line in lines if "raspberrypi-3" in line)
    assert len(lines) == 2 + len(list(PROFILES.glob("*.toml")))


def test_one_device_is_shown_whole():
    said = compressor("devices", "jetson-orin").stdout

    assert said.startswith("jetson-orin: ")
    assert "8,589,934,592 bytes" in said
    assert "opset 23, measured in onnxruntime 1.23.0" in said
    assert "bundles hold no program" in compressor("devices", "android-arm64").stdout


def test_programs_get_json():
    listed, one = compressor("devices", "--json").json(), compressor("devices", "browser", "--json")

    assert one.json() in listed
    assert one.json()["runtime"] == {"name": "onnxruntime-web", "version": "1.30.0"}


def test_a_file_is_checked(tmp_path):
    path = tmp_path / "board.toml"
    text = (PROFILES / "raspberrypi-4.toml").read_text()
    path.write_text(text.replace("raspberrypi-4", "board") + "\n[operators]\nCONV_2D = 2\n")
    assert "1, listed in the profile" in compressor("devices", str(path)).stdout

    path.write_text(text.replace("cores = 4", 'cores = "four"'))
    refused = compressor("devices", str(path))
    assert refused.code == 2
    assert refused.stderr.count("\n") == 1
    assert "profile.cpu.cores is not an integer: four (in" in refused.stderr


def test_an_unknown_device_is_one_line_and_exit_code_2():
    refused = compressor("devices", "toaster")

    assert refused.code == 2
    assert refused.stderr.startswith("error: unknown device: toaster; choose from android-arm64")
