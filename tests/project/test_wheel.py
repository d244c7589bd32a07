"""The wheel: what is in it, and that it works where nothing but it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import environment

import compressor

ROOT = Path(__file__).parents[2]
DATA = {
    "compressor/py.typed",
    "compressor/__init__.pyi",
    "compressor/exporters/__init__.pyi",
    "compressor/bundling/browser/page/index.html",
    "compressor/data/train-images-idx3-ubyte.gz",
    "compressor/report/templates/report.html.j2",
    "compressor/runs/bench.schema.json",
    "compressor/runs/record.schema.json",
    "compressor/runs/results.schema.json",
    "deploy/devices/raspberrypi-4.toml",
    "deploy/operators/litert-1.2.0.json",
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is built from: building writes beside its sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("compressor", "deploy"):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("cli.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that `pip install .` builds, by the setuptools that are installed."""
    folder = tmp_path_factory.mktemp("wheel")
    program = "import sys\nfrom setuptools import build_meta\nbuild_meta.build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, folder], cwd=sources, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


def test_the_wheel_holds_the_sources_and_nothing_else(sources: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = f"compressor-{compressor.__version__}.dist-info"
    packaged = {name for name in names if not name.startswith(f"{about}/")}
    wanted = {
        str(path.relative_to(sources))
        for name in ("compressor", "deploy")
        for path in (sources / name).rglob("*")
        if path.is_file()
    }

    assert wheel.name == f"compressor-{compressor.__version__}-py3-none-any.whl"
    assert packaged == wanted
    assert packaged >= DATA
    # A top-level module named `cli` would clash with other projects'.
    assert {name.partition("/")[0] for name in names} == {"compressor", "deploy", about}


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_without_pins(
    wheel: Path, small_file: Path, tmp_path: Path
) -> None:
    programs = tmp_path / "venv" / "bin"
    python = programs / "python"
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    without = ["--without-pip"] if uv else []
    subprocess.run([sys.executable, "-m", "venv", *without, tmp_path / "venv"], check=True)
    install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    installed = subprocess.run(
        [*install, "--quiet", wheel], capture_output=True, text=True, cwd=tmp_path
    )
    assert installed.returncode == 0, installed.stderr

    def run(*words: object) -> str:
        done = subprocess.run(
            [*map(str, words)], capture_output=True, text=True, cwd=tmp_path, env=environment()
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    command = programs / "compressor"
    module = [python, "-I", "-m", "compressor"]
    place = run(python, "-c", "import compressor, deploy; print(compressor.__file__)")
    inspected = json.loads(run(*module, "inspect", small_file, "--json"))

    assert place.startswith(str(tmp_path / "venv"))
    assert run(command, "--version") == f"compressor {compressor.__version__}\n"
    assert run(command, "--help") == run(*module, "--help")
    assert "Usage: compressor [OPTIONS] COMMAND [ARGS]..." in run(command, "--help")
    assert inspected == json.loads(json.dumps(compressor.inspect(small_file)))
    devices = {device["name"] for device in json.loads(run(command, "devices", "--json"))}
    assert devices == {path.stem for path in (ROOT / "deploy" / "devices").glob("*.toml")}
