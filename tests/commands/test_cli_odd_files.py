"""What is no regular file, or has no end, in place of one: one line, at once."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import compressor

from deploy.profile import PROFILES

Make = Callable[[Path], Any]


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def _huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**33)


ODD: dict[str, Make] = {
    "a FIFO": os.mkfifo,
    "a socket": _socket,
    "a directory": Path.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "endless": lambda path: path.symlink_to("/proc/self/pagemap"),
    "huge": _huge,
    "a loop": lambda path: path.symlink_to(path),
}


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A test that would wait for ever fails."""

    def failed(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, failed)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The current folder: the path of a socket has a limit."""
    monkeypatch.chdir(tmp_path)
    return Path()


def _refused(*words: object) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = compressor(*words).refusal(after_stages=True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024
    return message


@pytest.mark.parametrize("kind", ODD)
def test_given_as_a_file(kind: str, place: Path) -> None:
    for suffix, commands in {
        ".keras": ("inspect", "prune", "shrink"),
        ".tflite": ("inspect", "bench", "package"),
        ".onnx": ("inspect", "bench", "package"),
        ".bundle": ("verify", "report"),
        ".pub": ("runner",),
        ".toml": ("devices",),
        ".npz": ("train",),
    }.items():
        path = Path(f"odd{suffix}")
        ODD[kind](path)
        options: dict[str, tuple[object, ...]] = {
            "prune": (path, "-o", "out"),
            "shrink": (path, "-o", "out.keras"),
            "package": (path, "--device", "raspberrypi-4", "-o", "b.bundle"),
            "runner": ("--key", path, "-o", "runner.pyz"),
            "train": ("-1", "--data", path),
        }
        for command in commands:
            message = _refused(command, *options.get(command, (path,)))
            assert f"odd{suffix}" in message, (command, suffix)
    assert not any(Path().glob("out*")) and not any(Path().glob("*.bundle/*"))


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "a loop"])
@pytest.mark.parametrize("suffix", [".json", ".check.npz"])
def test_beside_an_artefact(kind: str, suffix: str, artefacts: Path, place: Path) -> None:
    for name in ("small.tflite", "small.tflite.json", "small.tflite.check.npz"):
        shutil.copy(artefacts / name, name)
    beside = Path(f"small.tflite{suffix}")
    beside.unlink()
    ODD[kind](beside)

    words = ("package", "small.tflite", "--device", "raspberrypi-4", "-o", "b.bundle")
    assert beside.name in _refused(*words)


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "a loop"])
@pytest.mark.parametrize("name", ["results.json", "bench.json"])
def test_in_a_run(kind: str, name: str, place: Path) -> None:
    run = Path("run")
    run.mkdir()
    ODD[kind](run / name)

    assert str(run / name) in _refused("report", run)


def test_lists_in_lists_are_bounded(place: Path) -> None:
    run = Path("run")
    run.mkdir()
    for levels in (65, 900, 100_000):
        (run / "results.json").write_text('{"a": ' + "[" * levels + "]" * levels + "}")
        message = _refused("report", run)
        assert "cannot read the JSON file: run/results.json (" in message
        assert "nested too deeply" in message or "recursion" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a." * 16_000 + "a = 1", "a line of more than 2,000 bytes"),
        ("[" + "a." * 16_000 + "a]", "a line of more than 2,000 bytes"),
        ("a = [\n" + "[\n" * 9999 + "]" * 999, "nested too deeply"),
        ("a = " + "{a = " * 300 + "1" + "}" * 300, "is missing"),
        (("a." * 900 + "b = 1\n").replace("b", "b{0}"), "not a TOML file"),
        ("a = 9" + "9" * 1900, "is missing"),
        ("a = 1e999\nb = nan", "is missing"),
        ("schema = 9" + "9" * 1900, "schema is not an object"),
        ("x = 1\n" * 20_000, "too large"),
    ],
)
def test_profiles_that_take_long_to_read(text: str, says: str, place: Path) -> None:
    Path("odd.toml").write_text(text)

    assert says in _refused("devices", "odd.toml")


def test_a_profile_of_an_endless_number(place: Path) -> None:
    text = (PROFILES / "raspberrypi-4.toml").read_text()
    for number in ("9" * 1500, "0x" + "f" * 1500, "1e400", "inf"):
        Path("mine.toml").write_text(text.replace("cores = 4", f"cores = {number}"))
        assert "profile.cpu.cores is not" in _refused("devices", "mine.toml")
