"""Modules of a user's own: what they give, and every way in which they are refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from own_layers import write_module

import compressor
from compressor.errors import UsageError
from compressor.foundation import custom_digests, custom_modules


@pytest.fixture(autouse=True)
def registry(keras: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Keras's own registry, as it is before and after each test."""
    monkeypatch.setattr(custom_modules, "_loaded", {})
    found = keras.saving.get_custom_objects()
    before = dict(found)
    yield found
    found.clear()
    found.update(before)
    for name in ("mine", "beside_it", "custom_json"):
        sys.modules.pop(name, None)


def test_a_module_gives_what_it_registers_and_what_it_defines(
    tmp_path: Path, registry: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given = compressor.load_custom(write_module(tmp_path / "mine.py"))

    assert given == ("Scale", "Shift", "swishy")
    assert {"Custom>Scale", "Custom>swishy", "Shift"} <= registry.keys()
    assert registry["Custom>Scale"].__module__ == "mine"
    assert capsys.readouterr() == ("", "")


def test_a_module_is_executed_again_only_when_it_has_changed(
    tmp_path: Path, registry: dict[str, Any]
) -> None:
    path = write_module(tmp_path / "mine.py")
    compressor.load_custom(path)
    first, digests = registry["Custom>Scale"], custom_digests()

    compressor.load_custom(path)
    assert registry["Custom>Scale"] is first

    compressor.load_custom(write_module(path, "\nFACTOR = 2\n"))
    assert registry["Custom>Scale"] is not first
    assert custom_digests().keys() == digests.keys() == {"mine.py"}
    assert custom_digests() != digests


def test_modules_beside_it_can_be_imported_and_count(tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("FACTOR = 1\n")
    path = write_module(tmp_path / "mine.py", "\nfrom beside_it import FACTOR\n")
    compressor.load_custom(path)
    digests = custom_digests()

    (tmp_path / "beside_it.py").write_text("FACTOR = 2\n")
    compressor.load_custom(path)

    assert custom_digests() != digests
    assert sys.modules["beside_it"].FACTOR == 2
    assert str(tmp_path) not in sys.path


def test_names_of_keras_and_of_the_standard_library_are_left_alone(
    tmp_path: Path, registry: dict[str, Any]
) -> None:
    path = tmp_path / "json.py"
    path.write_text("def relu(x):\n    return x\n\n\ndef own(x):\n    return x\n")

    assert compressor.load_custom(path) == ("own",)
    assert "relu" not in registry
    assert not hasattr(sys.modules["json"], "own")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import keras\ndef layer(:\n", "line 2: SyntaxError"),
        ("import keras\nraise ValueError('no\\nway\\033[31m')\n", "line 2: ValueError: no way"),
        ("import sys\n\nsys.exit(3)\n", "line 3: SystemExit: 3"),
        ("raise GeneratorExit\n", "line 1: GeneratorExit"),
        ("print('so')\n1 / 0\n", "line 2: ZeroDivisionError"),
        ("from . import layers\n", "line 1: ImportError"),
        ("x = 1\n", "gives no class or function"),
        ("from keras.layers import Dense\n", "gives no class or function"),
        ("\0", "null bytes"),
        ("\xff\xfe", "SyntaxError"),
    ],
)
def test_a_broken_module_is_refused_in_a_line(
    tmp_path: Path, rejected: Callable[..., str], source: str, said: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(source.encode("latin-1"))

    message = rejected(UsageError, compressor.load_custom, path)

    assert said in message
    assert str(path) in message
    assert custom_digests() == {}
    assert "mine" not in sys.modules


def test_what_a_broken_module_registered_is_taken_back(
    tmp_path: Path, rejected: Callable[..., str], registry: dict[str, Any]
) -> None:
    before = dict(registry)

    rejected(UsageError, compressor.load_custom, write_module(tmp_path / "mine.py", "\n1 / 0\n"))

    assert registry == before


def test_what_is_no_file_is_refused(tmp_path: Path, rejected: Callable[..., str]) -> None:
    os.mkfifo(tmp_path / "fifo.py")
    for path in (tmp_path / "missing.py", tmp_path, tmp_path / "fifo.py"):
        assert str(path) in rejected(UsageError, compressor.load_custom, path)


def test_two_modules_of_one_name_are_refused(tmp_path: Path, rejected: Callable[..., str]) -> None:
    (tmp_path / "other").mkdir()
    compressor.load_custom(write_module(tmp_path / "mine.py"))

    message = rejected(UsageError, compressor.load_custom, write_module(tmp_path / "other/mine.py"))

    assert "have one name" in message


def test_an_interrupt_is_no_broken_module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt\n")

    with pytest.raises(KeyboardInterrupt):
        compressor.load_custom(tmp_path / "mine.py")
