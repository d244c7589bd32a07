"""Benchmarks that start themselves for a job, in a process of its own."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import allocation, optimisers, reconstruction
from compressor.foundation import quiet_tensorflow


@pytest.mark.parametrize(
    ("module", "work"),
    [(allocation, "pruned"), (optimisers, "optimised"), (reconstruction, "run")],
)
def test_a_job_is_done_whatever_else_the_command_wants(module, work, monkeypatch, capsys):
    """Two of them asked for MODEL, which a job has not, so that none was ever done."""
    monkeypatch.setattr(module, work, lambda **job: {"did": job})
    monkeypatch.setattr(quiet_tensorflow.NativeOutput, "hold_back", lambda self: None)
    monkeypatch.setattr(sys, "argv", ["benchmark", "--one", json.dumps({"seed": 3})])

    module.main()

    assert json.loads(capsys.readouterr().out) == {"did": {"seed": 3}}
