"""What a terminal, a pipe and Ctrl-C see; each in a process of its own."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import (
    COMMAND,
    Outcome,
    compressor,
    compressor_alone,
    environment,
    signal_when,
    start,
)

STEP = re.compile(
    r"  step \d+/\d+, loss \d+\.\d{4}, accuracy \d+\.\d\d %, \d+:\d\d left"
    r"(, all trainings \d+:\d\d left)?"
)


@pytest.fixture
def words(quadrants: Path, tmp_path: Path) -> list[str]:
    return [
        *("train", "--data", str(quadrants), "--train-dir", str(tmp_path / "run")),
        *("--batch-size", "32", "--max-steps", "30"),
    ]


@pytest.mark.slow
def test_nothing_of_tensorflow_is_seen_unless_verbose(words: list[str], tmp_path: Path) -> None:
    quiet = compressor_alone(*words)

    assert quiet.code == 0
    first, *others = quiet.stderr.splitlines()
    assert first == "train the basic model"
    assert others
    assert all(STEP.fullmatch(line) for line in others), quiet.stderr
    assert quiet.stdout.startswith("step_1: accuracy ")

    # The step is finished, so this only imports TensorFlow.
    verbose = compressor_alone(*words, "--verbose")

    assert verbose.code == 0
    assert verbose.stdout == quiet.stdout
    added = set(verbose.stderr.splitlines()) - {first}
    assert any("oneDNN" in line or "absl" in line or "cuda" in line for line in added)


@pytest.mark.slow
def test_a_terminal_shows_a_bar(words: list[str]) -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), *words, "--max-steps", "250"],
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env=environment() | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(slave)
    written = b""
    # Linux ends a pseudo-terminal whose other side is closed by an error.
    try:
        while part := os.read(master, 4096):
            written += part
    except OSError:
        pass
    os.close(master)

    assert process.wait() == 0
    text = written.decode()
    assert "train the basic model" in text
    shows = re.findall(
        r"step  \[[#-]+\]  (\d+)/250(?:  \d\d:\d\d:\d\d)?  loss \d+\.\d{4}, accuracy \d+\.\d\d %",
        text,
    )
    assert shows
    assert shows[-1] == "250"
    assert re.search(r"/250  \d\d:\d\d:\d\d  loss", text)
    assert "\r" in text.replace("\r\n", "")
    assert "oneDNN" not in text


@pytest.mark.sampled(1)
@pytest.mark.parametrize("delay", [0.0, 0.7])
@pytest.mark.race
def test_ctrl_c_while_tensorflow_is_imported(
    words: list[str], delay: float, tmp_path: Path
) -> None:
    process = start(*words)
    maps = Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        process.kill()
        process.communicate()
        pytest.skip("this system does not say what a process has loaded")

    def importing() -> bool:
        if "libtensorflow" not in maps.read_text():
            return False
        time.sleep(delay)
        return True

    _assert_interrupted(signal_when(process, importing, signal.SIGINT))
    assert not list(tmp_path.rglob("step_1"))


@pytest.mark.slow
@pytest.mark.race
def test_ctrl_c_in_a_training_then_the_same_command(words: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(*words, "-1", "-2")
    interrupted = signal_when(process, (run / ".step_2_2.new").is_dir, signal.SIGINT)

    _assert_interrupted(interrupted)
    assert {path.name for path in run.iterdir() if path.is_dir()} == {
        *("step_1", "step_2_1", "variables")
    }
    finished = (run / "step_1" / "record.json").stat().st_mtime_ns
    again: Any = compressor(*words, "-1", "-2", "--json").json()
    assert set(again) == {"step_1", "step_2_1", "step_2_2"}
    assert (run / "step_1" / "record.json").stat().st_mtime_ns == finished


def _assert_interrupted(outcome: Outcome) -> None:
    assert outcome.code == 130, outcome.stderr
    assert outcome.stdout == ""
    assert "Traceback" not in outcome.stderr
    *stages, last = outcome.stderr.splitlines()
    assert last == "interrupted; finished work is kept; run the same command to resume"
    assert all(STEP.fullmatch(line) or line[:1].isalpha() or not line for line in stages), (
        outcome.stderr
    )


def test_output_that_nobody_can_read_or_that_finds_no_room(quadrants: Path) -> None:
    def ends(redirection: str, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", str(COMMAND), *words],
            capture_output=True,
            text=True,
            env=environment(),
        )
        return done.returncode, done.stderr

    assert ends(">&-", "devices") == (0, "")
    assert ends(">&- 2>&- <&-", "devices")[0] == 0
    assert ends(">&- 2>&-", "devices", "nonsense")[0] == 2
    code, said = ends(">/dev/full", "devices")
    assert code == 2 and said == "error: No space left on device: standard output\n"
