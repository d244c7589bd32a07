"""The project as a whole: what it is made of agrees with itself."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import inspect
import re
from pathlib import Path

import pytest

import compressor
from compressor import errors

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "cli.py", *(ROOT / "compressor").rglob("*.py"), *(ROOT / "deploy").rglob("*.py")]


def _setup() -> configparser.ConfigParser:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_the_installed_version_is_the_package_s() -> None:
    assert importlib.metadata.version("compressor") == compressor.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+", compressor.__version__)


def test_the_command_is_installed() -> None:
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="compressor")

    assert script.value == "compressor.commands.command_line:main"


def test_the_root_holds_rooms_and_four_modules() -> None:
    root = ROOT / "compressor"
    modules = {path.name for path in root.glob("*.py")}
    rooms = [path for path in root.iterdir() if path.is_dir() and path.name != "__pycache__"]

    assert modules == {"__init__.py", "__main__.py", "_version.py", "errors.py"}
    assert all((room / "__init__.py").is_file() for room in rooms)


@pytest.mark.parametrize("stub", sorted((ROOT / "compressor").rglob("__init__.pyi")), ids=str)
def test_a_room_hands_out_what_its_stub_says(stub: Path) -> None:
    name = ".".join(stub.parent.relative_to(ROOT).parts)
    room = importlib.import_module(name)
    told = [
        alias.name
        for node in ast.parse(stub.read_text()).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]

    assert sorted(told) == sorted(room.__all__)
    for public in told:
        # A function must not be hidden by a module of its name.
        assert not inspect.ismodule(getattr(room, public)), f"{name}.{public}"


def test_every_dependency_is_pinned() -> None:
    pinned = {
        re.split(r"==", line)[0].strip().lower().replace("_", "-"): line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    }
    wanted = _setup()["options"]["install_requires"].split("\n")
    wanted += _setup()["options.extras_require"]["test"].split("\n")
    # The second onnxruntime is that of other machines than the pins are for.
    names = {re.split(r"[ ><=;]", line)[0] for line in wanted if line.strip()} - {"onnxruntime"}

    assert all("==" in line for line in pinned.values())
    assert names <= pinned.keys()


@pytest.mark.slow
def test_tensorflow_is_imported_in_one_place_and_late() -> None:
    for path in SOURCES:
        assert not _imports(path) & {"tensorflow", "keras", "tf_keras"}, path


def test_onnxruntime_is_imported_with_its_telemetry_off() -> None:
    folders = [ROOT / name for name in ("compressor", "deploy", "benchmarks", "scripts", "docs")]
    pages = [ROOT / "README.md", *(path for folder in folders for path in folder.rglob("*.*"))]
    imported = re.compile(r"\b(import|from|import_module\W+)\b[^\n`]*\bonnxruntime\b(?![-`/])")
    found = [
        path
        for path in pages
        if path.suffix in (".py", ".sh", ".md") and imported.search(path.read_text())
    ]

    assert found  # programs that run without this project; all else goes through `deploy`
    for path in found:
        assert "ORT_DISABLE_TELEMETRY" in path.read_text(), path


def test_every_error_says_its_exit_code() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.CompressorError)
    ]

    for kind in kinds:
        assert kind.__name__ in str(errors.__doc__)
        message = str(kind("what", value="a\nb", hint="do this"))
        assert message == "what: a b; do this"
    codes = {kind.__name__: kind.exit_code for kind in kinds if kind.exit_code != 2}
    assert codes == {"CheckFailedError": 1, "MissingRuntimeError": 3}


def test_warnings_are_errors_and_slow_tests_are_marked() -> None:
    options = _setup()["tool:pytest"]

    assert options["filterwarnings"].split()[0] == "error"
    assert options["markers"].strip().startswith("slow:")


def test_test_modules_have_names_of_their_own() -> None:
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]

    assert len(names) == len(set(names))
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_the_embedded_data_is_packaged() -> None:
    data = _setup()["options.package_data"]

    assert data["compressor.data"] == "*.gz"
    assert len(list((ROOT / "compressor" / "data").glob("*.gz"))) == 4
    assert (ROOT / "compressor" / "py.typed").is_file()
