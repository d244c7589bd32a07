"""Wheels in parts: joined and installed without a network, or one line that says what is wrong."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
from small_wheel import TAG, write_wheel

from benchmarks.gpu.there.wheels import install
from deploy.errors import DeployError, MissingEngineError, RequestError


def refused(folder: Path, error: type[DeployError] = RequestError) -> str:
    with pytest.raises(error) as caught:
        install(folder)
    assert "\n" not in str(caught.value)
    assert not [path for path in folder.glob("installed/*") if not path.name.endswith(".partial")]
    return str(caught.value)


def test_parts_are_joined_and_installed_into_a_folder_of_its_own(tmp_path, monkeypatch) -> None:
    write_wheel(tmp_path, "joinedtoy", "VALUE = 7")
    write_wheel(tmp_path, "joinedtoy", "VALUE = 8", tag="cp27-none-any")
    write_wheel(tmp_path, "other_toy", "VALUE = 9", parts=1, tag="py3-none-any")
    (tmp_path / "joinedtoy.json").write_text("{}")
    installed = install(tmp_path)

    assert [path.parent for path in installed] == [tmp_path / "installed"] * 2
    monkeypatch.setattr(sys, "path", [*map(str, installed), *sys.path])
    assert importlib.import_module("joinedtoy").VALUE == 7
    assert not list(tmp_path.rglob("*.partial")) and not list(installed[0].glob("*.whl"))


def test_what_is_installed_is_not_installed_again(tmp_path, capsys) -> None:
    write_wheel(tmp_path, "toy", "VALUE = 7")
    (tmp_path / "installed" / f"toy-9.9.9-{TAG}.partial" / "toy").mkdir(parents=True)  # was killed
    first = install(tmp_path)
    assert "installing toy" in capsys.readouterr().out
    assert (first[0] / "toy" / "__init__.py").read_text() == "VALUE = 7"
    assert install(tmp_path) == first and capsys.readouterr().out == ""
    for part in tmp_path.glob("*.whl*"):
        part.unlink()
    assert install(tmp_path) == first


def test_a_whole_wheel_and_one_numbered_from_one_will_do(tmp_path) -> None:
    (whole,) = write_wheel(tmp_path, "toy", "", parts=1)
    whole.rename(tmp_path / whole.name.removesuffix(".part00"))
    for number, part in reversed(list(enumerate(write_wheel(tmp_path, "toys", "")))):
        part.rename(part.with_name(part.name.replace(f".part{number:02}", f".part{number + 1:02}")))
    assert len(install(tmp_path)) == 2
    assert install(tmp_path / "installed") == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_that_is_incomplete_is_named(tmp_path, number) -> None:
    parts = write_wheel(tmp_path, "toy", "")
    parts[number].write_bytes(parts[number].read_bytes()[:-100])
    message = refused(tmp_path)

    assert "a part of a wheel is incomplete" in message and parts[number].name in message


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_part_that_is_missing_is_named(tmp_path, number) -> None:
    parts = write_wheel(tmp_path, "toy", "")
    parts[number].unlink()
    message = refused(tmp_path)

    if number < 2:
        assert "missing" in message and parts[number].name in message
    else:
        assert f"{parts[1].name}; or a part after it is missing" in message


def test_a_byte_that_changed_is_found_with_and_without_the_digest(tmp_path) -> None:
    parts = write_wheel(tmp_path, "toy", "")
    content = bytearray(parts[1].read_bytes())
    content[20] ^= 1
    parts[1].write_bytes(content)

    assert "does not match toy-9.9.9" in refused(tmp_path)
    next(tmp_path.glob("*.sha256")).unlink()
    message = refused(tmp_path)
    assert message.startswith("a wheel is damaged") and "copy its parts again" in message


@pytest.mark.parametrize("tag", ["cp27-none-any", f"cp{sys.version_info[0]}9-abi-linux_riscv32"])
def test_a_wheel_for_another_machine_is_not_installed(tmp_path, tag) -> None:
    write_wheel(tmp_path, "toy", "", tag=tag)
    message = refused(tmp_path, MissingEngineError)

    assert "no wheel here is for Python" in message and "toy-9.9.9" in message


def test_what_could_mean_two_things_is_refused(tmp_path) -> None:
    parts = write_wheel(tmp_path, "toy", "")
    twice = parts[0].with_name(parts[0].name.replace(".part00", ".part0"))
    twice.write_bytes(parts[0].read_bytes())
    assert "is there twice" in refused(tmp_path)
    twice.rename(parts[0].with_name(parts[0].name.replace(".part00", ".partaa")))
    assert "no number" in refused(tmp_path)
    next(tmp_path.glob("*.partaa")).unlink()
    write_wheel(tmp_path, "toy", "", tag="py3-none-any")
    assert "two wheels of one package" in refused(tmp_path)
