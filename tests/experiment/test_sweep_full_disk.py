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
from small_disks import small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for step_1 and step_2_1, and no more."""
    with small_disk(tmp_path / "disk", "6m") as disk:
        yield disk


@pytest.mark.slow
def test_a_full_disk_then_room_again(undisturbed: Any, disk: Path) -> None:
    run = disk / "run"

    full = compressor(*undisturbed.words(run))

    assert "No space left on device" in full.refusal(after_stages=True)
    finished = step_times(run)
    assert finished.keys() == {"seed-0/step_1", "seed-0/0.5/step_2_1"}
    assert not [name for name in files(run) if ".tmp" in name or ".new" in name]

    subprocess.run(["mount", "-o", "remount,size=99m", str(disk)], check=True)
    again = compressor(*undisturbed.words(run))

    assert again.code == 0, again.stderr
    assert finished.items() <= step_times(run).items()
    assert without_times(results_of(run)) == without_times(undisturbed.results)


@pytest.mark.slow
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
