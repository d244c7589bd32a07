"""protocol: run artefacts for the program that asks on standard input."""

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

SUMMARY = "answer the requests of compressor bench, a JSON object a line"
DESCRIPTION = deploy.runner.__doc__
_PR_SET_PDEATHSIG = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    from deploy.runner.protocol import Server

    # Runtimes print from C++; only answers may reach the real standard output.
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # If memory runs out, this process is to be killed, not the one that started it.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    _die_with_parent()
    try:
        Server().serve(sys.stdin.buffer, answers)
        answers.close()
    except BrokenPipeError:  # the other program is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    return 0


def _die_with_parent() -> None:
    """On Linux: end with the parent process, even if this one hangs."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
