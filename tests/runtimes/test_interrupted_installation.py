"""An installation that is interrupted leaves nothing half made, and nothing temporary."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import environment, signal_when

from compressor.runtimes import environments
from compressor.runtimes.registry import TFLITE_RUNTIME

pytestmark = pytest.mark.race


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_download_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    begun, temporary = tmp_path / "begun", tmp_path / "tmp"
    temporary.mkdir()
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\necho half > half.tgz\ntouch {begun}\nexec sleep 300\n")
    npm.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "compressor", "runtimes", "install", "onnxruntime-web"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **environment(),
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "TMPDIR": str(temporary),
            "COMPRESSOR_CACHE": str(tmp_path / "cache"),
        },
    )

    ended = signal_when(process, begun.exists, number)

    assert ended.code == code
    assert ended.stderr.strip().startswith("interrupted; ")
    assert list(temporary.iterdir()) == []
    assert not list((tmp_path / "cache").rglob("*.tgz"))


def test_an_environment_that_was_not_finished_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path))
    steps = []

    def interrupted(*_: object) -> None:
        steps.append(TFLITE_RUNTIME.folder.exists())
        TFLITE_RUNTIME.folder.mkdir(exist_ok=True)
        if len(steps) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(environments.Environment, "_base_python", lambda self: sys.executable)
    monkeypatch.setattr(environments.Environment, "_run", interrupted)
    monkeypatch.setattr(environments.platform, "system", lambda: "Linux")
    monkeypatch.setattr(environments.platform, "machine", lambda: "x86_64")

    with pytest.raises(KeyboardInterrupt):
        TFLITE_RUNTIME.install()

    assert steps == [False, True]
    assert not TFLITE_RUNTIME.folder.exists()
