"""Names of files in other scripts than ours, whatever the locale is."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from command_line import compressor_alone

DIGITS = Path(__file__).parents[1] / "bundling" / "browser" / "data" / "digits.onnx"
C = ("env", "LC_ALL=C")
C_AS_ASCII = (*C, "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0")
"""An environment in which Python takes names of files for ASCII."""


@pytest.fixture()
def digits(tmp_path: Path) -> Path:
    """An artefact whose folder and name are not ASCII."""
    path = tmp_path / "wörk-数据" / "ziffern-é.onnx"
    path.parent.mkdir()
    for suffix in ("", ".json", ".check.npz"):
        content = DIGITS.with_name(DIGITS.name + suffix).read_bytes()
        described = content.replace(b'"digits.onnx', b'"ziffern-\\u00e9.onnx')
        path.with_name(path.name + suffix).write_bytes(described)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("before", [C, C_AS_ASCII])
def test_an_artefact_is_measured(digits: Path, before: tuple[str, ...]) -> None:
    quick = ("--rounds", 1, "--round-seconds", 0.01, "--starts", 1)

    done = compressor_alone("bench", digits, *quick, before=before)

    assert done.code == 0, done.stderr
    assert (digits.parent / "bench.json").is_file()
    assert f"appended to: {digits.parent}" in done.stdout


@pytest.mark.slow
def test_files_are_written(digits: Path) -> None:
    here = digits.parent
    bundle, keys = here / "büchse.bundle", here / "schlüssel"
    for words in (
        ("keygen", keys),
        ("package", DIGITS, "--device", "linux-x86-64", "-o", bundle, "--sign", f"{keys}.key"),
        ("verify", bundle, "--key", f"{keys}.pub"),
    ):
        done = compressor_alone(*words, before=C_AS_ASCII)
        assert done.code == 0, done.stderr
    assert bundle.is_file()


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_a_name_that_is_no_text_is_run(tmp_path: Path) -> None:
    from compressor.runtimes import Runner

    path = tmp_path / os.fsdecode(b"\xff\xfe.onnx")
    shutil.copyfile(DIGITS, path)

    with Runner("onnxruntime") as runner:
        assert runner.load(path)["inputs"]
