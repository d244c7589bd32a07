"""Every regular expression of the project takes time in proportion to the text."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pattern_steps import grows

ROOT = Path(__file__).parents[2]
_ANCHORED = {"match", "fullmatch"}
_FUNCTIONS = {*_ANCHORED, "search", "sub", "subn", "split", "findall", "finditer", "compile"}

Found = tuple[str, str | bytes, int, bool]
"""Where, the pattern, its flags, and whether it is tried only where the text begins."""


def sources() -> list[Path]:
    folders = [path for name in ("compressor", "deploy") for path in (ROOT / name).rglob("*.py")]
    return [ROOT / "cli.py", *sorted(folders)]


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The calls of functions of `re`, with their names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "re" and node.func.attr in _FUNCTIONS:
                yield node.func.attr, node


def methods(tree: ast.AST, name: str) -> set[str]:
    """What is called of a compiled pattern in its own module."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    }


def patterns(path: Path) -> Iterator[Found]:
    where = path.relative_to(ROOT)
    if "import re\n" not in path.read_text():
        return
    tree = ast.parse(path.read_text())
    inline = [(name, call) for name, call in calls(tree) if name != "compile"]
    compiled = len(list(calls(tree))) - len(inline)
    if compiled:
        module = importlib.import_module(".".join(where.with_suffix("").parts))
        own = {
            name: value
            for name, value in vars(module).items()
            if isinstance(value, re.Pattern) and f"\n{name} = re.compile" in path.read_text()
        }
        assert len(own) == compiled, f"{where}: compile patterns at the top of the module"
        for name, value in own.items():
            used = methods(tree, name)
            anchored = bool(used) and used <= _ANCHORED
            yield f"{where}: {name}", value.pattern, value.flags, anchored
    for name, call in inline:
        literal = call.args[0]
        assert isinstance(literal, ast.Constant), f"{where}:{call.lineno}: a pattern is a literal"
        flags = [*call.args, *(word.value for word in call.keywords)]
        names = {part.attr for part in flags if isinstance(part, ast.Attribute)}
        value = sum(int(getattr(re, flag)) for flag in names & {"DOTALL", "IGNORECASE"})
        yield f"{where}:{call.lineno}", literal.value, value, name in _ANCHORED


FOUND = [found for path in sources() for found in patterns(path)]


def test_there_are_patterns_to_look_at() -> None:
    assert len(FOUND) > 30
    assert any(isinstance(pattern, bytes) for _, pattern, _, _ in FOUND)


@pytest.mark.parametrize(
    ("pattern", "flags", "anchored"), [f[1:] for f in FOUND], ids=[f[0] for f in FOUND]
)
def test_a_pattern_is_linear(pattern, flags, anchored) -> None:
    assert grows(pattern, flags, anchored=anchored) == ""


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"[0-9]{400}", rb"[0-9]{400}", r"<[^>]+>", r"\s+$", r"a*a*b", r"(a+)+$", r"(a|a)*b"),
        *(r"<metadata>.*?</metadata>", r"(font: [^;]*?)'Sans'", r"(\w+\s?)*$", r".*,.*,x"),
        r"(<svg\b[^>]*?) width=\"[^\"]*\"",
    ],
)
def test_what_is_not_linear_is_found(pattern) -> None:
    assert grows(pattern)


@pytest.mark.parametrize(
    ("pattern", "anchored"),
    [
        *(
            (r"(?<![0-9])[0-9]{400}", False),
            (r"<[^<>]+>", False),
            (r"a+", False),
        ),
        *((r"[a-z]+(-[a-z]+)*", True), (r"\d+(\.\d+){2,3}", True), (r"[^a]+", False)),
    ],
)
def test_what_is_linear_is_left_alone(pattern, anchored) -> None:
    assert grows(pattern, anchored=anchored) == ""
