"""protocol: run one artefact after the other for the program that asks on standard input."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

import deploy.runner
from deploy.runner.source import BundleSource

SUMMARY = "answer requests, a JSON object a line, as compressor bench sends them"
DESCRIPTION = deploy.runner.__doc__
_PR_SET_PDEATHSIG = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    """Serve requests from standard input until its end; the exit code."""
    from deploy.runner.protocol import Server

    # Runtimes print from C++; only answers may reach the real standard output.
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Should memory run out, this process is to die of it, and not who started it.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _die_with_parent()
    try:
        Server().serve(sys.stdin.buffer, answers)
        answers.close()
    except BrokenPipeError:  # whoever asked is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    return 0


def _die_with_parent() -> None:
    """On Linux: end when the process ends that started this one, even if this one hangs."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
