"""The pages are true: links lead somewhere, commands and code run as printed, names exist."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import COMMAND, compressor, environment
from markdown_pages import PAGES, ROOT, anchors, blocks, command_lines, links, name_of

import compressor as package
import deploy
from compressor.commands.parameters import canonical

RUN = [ROOT / "README.md", ROOT / "docs" / "quickstart.md"]
"""The pages whose commands and code are run."""
NUMBERS = [ROOT / page for page in ("README.md", "docs/export.md", "docs/paper.md")]
"""The pages whose numbers are those of benchmarks/results."""

OTHERS = [page for page in PAGES if page not in RUN and "```python" in page.read_text()]
"""Other pages with code."""

each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
LONG = ROOT / "docs" / "quickstart.md"
each_page_that_runs = pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow) if page == LONG else page for page in RUN],
    ids=name_of,
)


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        place, _, anchor = link.partition("#")
        if "://" in place:
            continue
        target = (page.parent / place).resolve() if place else page
        assert target.is_relative_to(ROOT) and target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_leads_to_every_page() -> None:
    pages = {name_of(page) for page in (ROOT / "docs").glob("*.md")}

    assert pages <= set(links(ROOT / "README.md"))


@each_page_that_runs
def test_the_commands_of_a_page_run_as_printed(page: Path, at_the_readers: Path) -> None:
    ran = []
    for line in command_lines(page):
        if not _is_set_up(line):
            program, *words = shlex.split(line, comments=True)
            assert program == "compressor", line
            outcome = compressor(*words)
            assert outcome.code == 0, f"{line}\n{outcome.stdout}{outcome.stderr}"
            ran.append(words[0])
    assert {"prune", "export"} <= set(ran)


@pytest.mark.slow
@each_page_that_runs
def test_a_shell_runs_the_commands_of_a_page(page: Path, at_the_readers: Path) -> None:
    lines = [line for line in command_lines(page) if not _is_set_up(line)]
    path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"

    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(lines)],
        env=environment() | {"PATH": path},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@each_page_that_runs
def test_the_python_code_of_a_page_runs_as_printed(
    page: Path, at_the_readers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = [block.text for block in blocks(page) if block.language == "python"]

    assert code
    for text in code:
        exec(compile(text, page.name, "exec"), {"__name__": "__main__"})
        assert re.search(r"\d+ bytes, accuracy 0\.\d+|\d+ bytes, accuracy 1\.0", _out(capsys))


@pytest.mark.slow
@pytest.mark.parametrize("page", OTHERS, ids=name_of)
def test_the_python_code_of_other_pages_runs(page: Path, tmp_path: Path) -> None:
    code = "\n".join(block.text for block in blocks(page) if block.language == "python")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


@each_page
def test_commands_and_options_exist(page: Path) -> None:
    helps: dict[str, str] = {}
    for line in command_lines(page):
        if _is_set_up(line) or not line.startswith("compressor "):
            continue
        words = shlex.split(line, comments=True)[1:]
        name = " ".join(words[: 2 if words[0] == "runtimes" and len(words) > 1 else 1])
        if name not in helps:
            helps[name] = compressor(*name.split(), "--help").stdout
        for word in (word for word in words if word.startswith("-")):
            # The paper's names are taken, and are not in the help.
            option = word[: len(word) - len(word.lstrip("-"))] + canonical(word.lstrip("-"))
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", helps[name]), line


@each_page
def test_make_targets_and_benchmarks_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
        assert target in _make_targets(), target
    for module in re.findall(r"python -m (benchmarks\.[a-z_.]+[a-z])", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


@pytest.mark.parametrize("page", NUMBERS, ids=name_of)
def test_numbers_are_those_of_the_results(page: Path) -> None:
    found = [json.loads(path.read_text()) for path in (ROOT / "benchmarks/results").glob("*.json")]
    results = set(_numbers(found))
    percents = {f"{100 * number:.2f}" for number in results if 0 <= number <= 1}
    text = page.read_text()

    for number in re.findall(r"\b\d{1,3}(?:,\d{3})+\b", text):
        assert int(number.replace(",", "")) in results, number
    for number in re.findall(r"\b(\d\d\.\d\d) %", text):
        assert number in percents, number


def test_every_promise_has_a_test_that_exists() -> None:
    page = ROOT / "docs" / "guarantees.md"
    tests = {
        f"{path.name}::{node.name}"
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    }
    rows = [line for line in page.read_text().splitlines() if re.match(r"\| (?!promise)\S", line)]

    assert len(rows) > 40
    for row in rows:
        named = re.findall(r"`(test_\w+\.py::\w+)`", row)
        assert named and set(named) <= tests, row


@pytest.mark.parametrize("module", [package, deploy], ids=lambda module: module.__name__)
def test_the_api_page_has_every_public_name_and_its_signature(module: Any) -> None:
    text = (ROOT / "docs" / "python-api.md").read_text()
    for name in module.__all__:
        assert re.search(rf"`(?:compressor\.)?{name}\b", text), name
    first, second = re.split(r"^## deploy$", text, flags=re.MULTILINE)
    own = second if module is deploy else first
    for name, printed in re.findall(r"^\| `([\w.]+)\(([^`]*)\)` \|", own, re.MULTILINE):
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part)
        real = _signature(found)
        if printed.endswith(", ..."):
            assert real.startswith(printed.removesuffix("...")), name
        else:
            assert real.partition(", places=")[0] == printed, name


def test_the_architecture_page_has_every_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    shown = set(re.findall(r"^      (\w+)/ ", text, re.MULTILINE))

    assert shown == {path.parent.name for path in (ROOT / "compressor").glob("*/__init__.py")}


def _out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def _is_set_up(line: str) -> bool:
    """Whether a line sets up the project or a shell; it is then checked here, and not run."""
    if line.startswith("make "):
        assert shlex.split(line, comments=True)[1] in _make_targets(), line
        return True
    if line == ". .venv/bin/activate":
        return True
    if line.startswith("pip install "):
        assert line == "pip install ." and (ROOT / "pyproject.toml").is_file()
        return True
    completion = re.search(r"(_COMPRESSOR_COMPLETE)=((\w+)_source) compressor", line)
    if completion is None:
        return False
    variable, value, shell = completion.groups()
    done = subprocess.run(
        [COMMAND], env=environment() | {variable: value}, capture_output=True, text=True
    )
    # Click asks bash for its version, and says on standard error where there is no such bash.
    assert done.returncode == 0 and f"{shell}_complete" in done.stdout, done.stderr
    return True


def _make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def _signature(found: Any) -> str:
    """Parameters with their defaults, as a page prints them; the types are left out."""
    printed, keyword_only = [], False
    for parameter in inspect.signature(found).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            printed.append("*")
            keyword_only = True
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        printed.append(parameter.name + default.replace("'", '"'))
    return ", ".join(printed)
