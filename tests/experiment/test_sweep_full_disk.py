"""A disk that becomes full: one line, nothing corrupt, and the same command goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    compressor,
    compressor_alone,
    files,
    results_of,
    step_times,
    without_times,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB: room for step_1 and step_2_1, and no more."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_then_room_again(undisturbed: Any, small_disk: Path) -> None:
    run = small_disk / "run"

    full = compressor(*undisturbed.words(run))

    assert "No space left on device" in full.refusal(after_stages=True)
    finished = step_times(run)
    assert finished.keys() == {"seed-0/step_1", "seed-0/0.5/step_2_1"}
    assert not [name for name in files(run) if ".tmp" in name or ".new" in name]

    subprocess.run(["mount", "-o", "remount,size=99m", str(small_disk)], check=True)
    again = compressor(*undisturbed.words(run))

    assert again.code == 0, again.stderr
    assert finished.items() <= step_times(run).items()
    assert without_times(results_of(run)) == without_times(undisturbed.results)


def test_a_limit_on_the_size_of_a_file(undisturbed: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [
        *("train", "-1", "--data", undisturbed.data, "--train-dir", run),
        *("--max-steps", "3", "--batch-size", "32"),
    ]

    limited = compressor_alone(*words, before=("bash", "-c", 'ulimit -f 3000; exec "$0" "$@"'))

    assert "cannot write, File too large" in limited.refusal(after_stages=True)
    assert files(run).keys() <= {"experiment.json"}
    assert compressor(*words, "--json").json()["step_1"]["accuracy"] > 0
