"""A runner that compiled itself starts from what it compiled, and from its sources elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bundles import Signer, bundle_of

from deploy.container import read_container, write_container
from deploy.runner.packing import pack

OWNER = Signer(3)
_MODULE = "deploy/ed25519"


def _run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", *map(str, words)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    path = tmp_path / "runner.pyz"
    path.write_bytes(pack([OWNER.public]))
    return path


@pytest.fixture
def bundle(artefacts: Path, tmp_path: Path) -> Path:
    path = tmp_path / "small.bundle"
    path.write_bytes(bundle_of(artefacts / "small.tflite", OWNER))
    return path


def test_it_compiles_itself_and_trusts_what_it_did(runner: Path, bundle: Path) -> None:
    before = read_container(runner.read_bytes())

    done = _run(runner, "compile")

    assert done.returncode == 0, done.stderr
    after = read_container(runner.read_bytes())
    assert {name: after[name] for name in before} == before
    added = set(after) - set(before)
    assert f"{_MODULE}.pyc" in added
    assert {name[:-1] for name in added} == {
        name for name in before if name.endswith(".py") and name != "__main__.py"
    }
    verified = _run(runner, "verify", bundle, "--static")
    assert verified.returncode == 0, verified.stderr
    assert OWNER.public.identifier in verified.stdout
    assert [path.name for path in runner.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_it_can_be_done_again(runner: Path) -> None:
    _run(runner, "compile")
    first = runner.read_bytes()

    assert _run(runner, "compile").returncode == 0
    assert runner.read_bytes() == first


def test_another_python_takes_the_sources(runner: Path, bundle: Path) -> None:
    _run(runner, "compile")
    members = read_container(runner.read_bytes())
    members[f"{_MODULE}.py"] = b"raise SystemExit('the source was taken')\n"
    runner.write_bytes(write_container(members))
    assert _run(runner, "verify", bundle, "--static").returncode == 0

    # The first four bytes say which Python compiled it.
    members[f"{_MODULE}.pyc"] = b"\0\0\0\0" + members[f"{_MODULE}.pyc"][4:]
    runner.write_bytes(write_container(members))
    assert "the source was taken" in _run(runner, "verify", bundle, "--static").stderr


def test_a_bundle_has_no_such_command(bundle: Path) -> None:
    before = bundle.read_bytes()

    done = _run(bundle, "compile")

    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown command")
    assert bundle.read_bytes() == before
