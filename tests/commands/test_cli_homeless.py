"""Where there is no home directory: HOME is not set, and the user has no passwd entry."""

from __future__ import annotations

import json
import pwd
from pathlib import Path
from typing import Any

import pytest
from bundles import Signer
from command_line import compressor

from deploy.runner.__main__ import main as runner

DIGITS = Path(__file__).parents[1] / "bundling" / "browser" / "data" / "digits.onnx"


@pytest.fixture(autouse=True)
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME", "COMPRESSOR_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


@pytest.fixture()
def key(tmp_path: Path) -> str:
    return str(Signer(3).write_public(tmp_path / "release.pub"))


def test_the_runtimes_are_listed() -> None:
    listed = compressor("runtimes")

    assert listed.code == 0, listed.stderr
    assert "is not installed (there is no home directory)" in listed.stdout
    assert "has not been fetched (there is no home directory)" in listed.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("runtimes", "install", "onnxruntime-web"),
        ("package", DIGITS, "--device", "browser", "-o", "site"),
    ],
)
def test_what_needs_the_cache_says_how_to_give_one(
    words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    refused = compressor(*words).refusal()

    assert "there is no home directory: ~/.cache/compressor" in refused
    assert refused.endswith("; set HOME, or COMPRESSOR_CACHE to a folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("list",), ("status", "x"), ("remove", "x")])
def test_a_store_says_so(
    words: tuple[str, ...], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner(["store", *words, "--key", key]) == 2

    answer = json.loads(capsys.readouterr().out)
    assert answer["kind"] == "request"
    assert answer["error"].startswith("there is no home directory: ~/.local/share/compressor; ")


def test_serve_says_so(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner(["serve", "--store", "x", "--key", key]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: there is no home directory: ~/.local/share/compressor; set HOME")
