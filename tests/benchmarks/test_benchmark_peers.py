"""Peers are pinned by hashes, and one that is not there is named with the command to get it."""

from __future__ import annotations

import json
import os
import platform
import sys

import pytest

from benchmarks.peers import environments
from benchmarks.peers.environments import ENVIRONMENTS, packages, read_requirements, run_in
from compressor.errors import CheckFailedError, MissingRuntimeError
from compressor.runtimes.environments import CACHE_VARIABLE, Environment


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))
def test_every_package_is_pinned_by_hashes(environment: Environment):
    assert len(environment.requirements) > 5
    for _, digests in environment.requirements:
        assert digests and all(len(digest) == 64 for digest in digests)
    assert environment.version in packages(environment).values()
    assert "--require-hashes" in environment.pip_command(environments.HERE)
    # What pip gets is what the file says.
    assert environment.requirements_text().count("--hash=") == sum(
        len(digests) for _, digests in environment.requirements
    )


@pytest.mark.parametrize("line", ["numpy", "numpy==2.0", "numpy>=2 --hash=sha256:" + "0" * 64])
def test_a_requirement_without_version_or_hash_is_refused(tmp_path, line):
    path = tmp_path / "some.txt"
    path.write_text(f"# said\n{line}\n")
    with pytest.raises(ValueError, match="not pinned"):
        read_requirements(path)


def test_an_environment_that_is_not_there_names_its_command(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    tfmot = ENVIRONMENTS["tensorflow-model-optimization"]
    assert tfmot.folder.parent == tmp_path / "peers"
    with pytest.raises(MissingRuntimeError) as caught:
        tfmot.python()
    command = "python -m benchmarks.peers.environments tensorflow-model-optimization"
    assert str(caught.value).endswith(f"; {command}")


def test_another_machine_is_told_that_there_is_no_peer_for_it(monkeypatch, capsys):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr(sys, "argv", ["environments", "ai-edge-quantizer"])
    with pytest.raises(SystemExit) as caught:
        environments.main()
    assert caught.value.code == 3
    assert (
        "there is no ai-edge-quantizer for this machine: Linux riscv64" in capsys.readouterr().out
    )


def _false_environment(folder, monkeypatch, script: str) -> Environment:
    """An environment, ready, whose Python is a shell script."""
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    environment = Environment("false", "1", (), (), (_here(),), "", group="peers", installer="i")
    (environment.folder / "bin").mkdir(parents=True)
    (environment.folder / ".ready").write_text(json.dumps({}))
    python = environment.folder / "bin" / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return environment


def _here() -> tuple[str, str]:
    return platform.system(), platform.machine()


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for Python")
def test_a_peer_that_fails_is_quoted_in_one_line(tmp_path, monkeypatch, rejected):
    script = 'echo "Traceback" >&2; echo "KeyError: \'fc9\'" >&2; exit 1'
    environment = _false_environment(tmp_path, monkeypatch, script)
    message = rejected(CheckFailedError, run_in, environment, "run_tfmot.py", "job.json")
    assert message == "false failed: KeyError: 'fc9'"


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands in for Python")
def test_a_peer_gets_its_program_and_arguments_in_isolation(tmp_path, monkeypatch):
    environment = _false_environment(tmp_path, monkeypatch, 'echo "$@"')
    said = run_in(environment, "run_tfmot.py", "job.json")
    assert said.split() == ["-I", str(environments.HERE / "run_tfmot.py"), "job.json"]


def test_peers_programs_import_nothing_of_this_project():
    for program in environments.HERE.glob("run_*.py"):
        text = program.read_text()
        assert "import compressor" not in text and "from compressor" not in text
        assert "from benchmarks" not in text
        compile(text, str(program), "exec")
