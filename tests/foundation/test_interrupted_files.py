"""However often and whenever it is interrupted, what is being written is whole or gone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from interrupting import interrupted_everywhere
from small_disks import small_disk

from compressor.errors import StorageError
from compressor.foundation import (
    atomic_path,
    atomic_paths,
    temporary_folder,
    write_bytes,
    write_files,
)
from deploy import files
from deploy.interrupts import Terminated, Uninterrupted, unwind_when_terminated

pytestmark = pytest.mark.race


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "sync", lambda path: None)


@pytest.fixture()
def terminated() -> Iterator[None]:
    """SIGTERM raises, as in the program; what was before returns."""
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    unwind_when_terminated()
    yield
    signal.signal(signal.SIGTERM, before)


AGAIN = pytest.mark.parametrize("again", [None, 1, 3, 8])
"""How many calls after the first interrupt the second one comes."""


@pytest.mark.sampled(2)
@AGAIN
def test_a_file_is_old_or_new_and_nothing_is_beside_it(tmp_path: Path, again: int | None) -> None:
    path = tmp_path / "made" / "model.keras"
    moments = 0

    def work() -> None:
        write_bytes(path, b"new")

    for done in interrupted_everywhere(work, again=again):
        found = [one.name for one in path.parent.iterdir()] if path.parent.exists() else []
        assert found in ([], ["model.keras"])
        assert found or not done
        assert not found or path.read_bytes() == b"new"
        path.unlink(missing_ok=True)
        moments += 1
    assert moments > 30


@pytest.mark.parametrize("again", [None, 3])
def test_several_files_are_all_old_or_all_new(tmp_path: Path, again: int | None) -> None:
    paths = [tmp_path / name for name in ("small.tflite", "small.tflite.json")]

    for path in paths:
        path.write_bytes(b"old")

    def work() -> None:
        with atomic_paths(*paths) as made:
            for one in made:
                one.write_bytes(b"new")

    for done in interrupted_everywhere(work, step=2, again=again):
        found = [path.read_bytes() for path in paths]
        assert found == [b"new"] * 2 or (not done and found == [b"old"] * 2)
        assert len(list(tmp_path.iterdir())) == 2
        for path in paths:
            path.write_bytes(b"old")


@pytest.fixture()
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.sampled(2)
@AGAIN
def test_a_temporary_folder_is_gone(temporary: Path, again: int | None) -> None:
    def work() -> None:
        with temporary_folder("test-") as folder:
            (folder / "inputs.npz").write_bytes(b"x")

    for _ in interrupted_everywhere(work, step=2, again=again):
        assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_sigterm_waits_as_ctrl_c_does(tmp_path: Path, terminated: None) -> None:
    path = tmp_path / "model.keras"

    for _ in interrupted_everywhere(lambda: write_bytes(path, b"new"), signal.SIGTERM):
        assert [one.name for one in tmp_path.iterdir()] in ([], ["model.keras"])
        path.unlink(missing_ok=True)


def test_what_waited_acts_at_the_end_and_all_of_it(terminated: None) -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt) as caught, Uninterrupted():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
            steps.append(number)

    assert len(steps) == 3
    assert isinstance(caught.value, Terminated)
    assert caught.value.exit_code == 143


def test_handlers_are_back_afterwards(tmp_path: Path) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]

    def work() -> None:
        with Uninterrupted(), Uninterrupted():
            pass

    for _ in interrupted_everywhere(work):
        assert [signal.getsignal(number) for number in numbers] == before


def test_other_threads_write_while_the_main_one_is_interrupted(tmp_path: Path) -> None:
    path, writing, go_on = tmp_path / "model.keras", threading.Event(), threading.Event()

    def write() -> None:
        with atomic_path(path) as temporary:
            writing.set()
            go_on.wait()
            temporary.write_bytes(b"new")

    thread = threading.Thread(target=write)
    thread.start()
    writing.wait()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    go_on.set()
    thread.join()

    assert [one.name for one in tmp_path.iterdir()] == ["model.keras"]
    assert path.read_bytes() == b"new"


_PROGRAM = """
import signal, sys
from pathlib import Path
from compressor.foundation import atomic_path, temporary_folder
number = getattr(signal, sys.argv[1])
{before}
with temporary_folder("test-"):
    with atomic_path(Path("model.keras")) as temporary:
        signal.raise_signal(number)
        temporary.write_bytes(b"new")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_program_ends_by_the_signal_once_it_has_written(tmp_path: Path, name: str) -> None:
    """In a program of somebody else's, which handles no signal."""
    program = _PROGRAM.format(before="")
    words = [sys.executable, "-c", program, name]
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(words, cwd=work, capture_output=True, env=_environment(tmp_path))

    assert done.returncode == -getattr(signal, name)
    assert [one.name for one in work.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_unwinds_when_terminated_leaves_nothing(tmp_path: Path, name: str) -> None:
    before = "from deploy.interrupts import unwind_when_terminated; unwind_when_terminated()"
    words = [sys.executable, "-c", _PROGRAM.format(before=before), name]
    work = tmp_path / "work"
    work.mkdir()
    subprocess.run(words, cwd=work, capture_output=True, env=_environment(tmp_path))

    assert [one.name for one in work.iterdir()] == ["model.keras"]
    assert list((tmp_path / "tmp").iterdir()) == []


def _environment(folder: Path) -> dict[str, str]:
    (folder / "tmp").mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(folder / "tmp"), "PYTHONPATH": os.pathsep.join(sys.path)}


_LOOP = """
from itertools import count
from pathlib import Path
from compressor.foundation import temporary_folder, write_files
from deploy.interrupts import unwind_when_terminated
unwind_when_terminated()
print("begun", flush=True)
for number in count():
    content = str(number).encode()
    with temporary_folder("test-") as folder:
        (folder / "inputs.npz").write_bytes(content)
        write_files({Path("small.tflite"): content, Path("small.tflite.json"): content})
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_at_any_moment_of_a_program_that_writes(tmp_path: Path, name: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    words = [sys.executable, "-c", _LOOP]
    for _ in range(5):
        process = subprocess.Popen(
            words,
            cwd=work,
            env=_environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(random.uniform(0, 0.02))
            process.send_signal(getattr(signal, name))
            process.wait()

        contents = {path.name: path.read_bytes() for path in work.iterdir()}
        assert contents.keys() in (set(), {"small.tflite", "small.tflite.json"})
        assert len(set(contents.values())) <= 1
        assert list((tmp_path / "tmp").iterdir()) == []


def test_a_full_disk_leaves_all_of_the_old_files(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "12k") as disk:  # room for three files
        paths = [disk / name for name in ("small.tflite", "small.tflite.json")]
        write_files(dict.fromkeys(paths[:1], b"old"))
        write_files(dict.fromkeys(paths[1:], b"old"))

        with pytest.raises(StorageError, match="No space left on device"):
            write_files(dict.fromkeys(paths, b"new"))

        assert [path.read_bytes() for path in paths] == [b"old"] * 2
        assert len(list(disk.iterdir())) == 2


def test_a_file_that_does_not_get_its_name_takes_the_others_back(tmp_path: Path) -> None:
    old, new, blocked = (tmp_path / name for name in ("old.json", "new.json", "blocked"))
    old.write_bytes(b"old")
    blocked.mkdir()

    with pytest.raises(StorageError, match="directory"):
        write_files(dict.fromkeys((old, new, blocked), b"new"))

    assert old.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "old.json"]
