"""The front page of the command line, the ways to start it, and completion in shells."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from command_line import COMMAND
from test_cli_start import OPTIONS

from compressor.commands import command_line as cli

ROOT = Path(__file__).parents[2]
SECTIONS = {
    "Make small": ["search", "import", "prune", "sensitivity", "shrink", "export", "apply"],
    "Prove and measure": ["bench", "inspect", "report", "runtimes"],
    "Ship": ["devices", "package", "verify", "keygen", "runner", "deploy"],
    "Reproduce the paper": ["sweep", "train", "sparsify", "evaluate"],
}


def _help(*words: str, width: int = 80) -> str:
    done = CliRunner().invoke(
        cli.cli, [*words, "--help"], prog_name="compressor", terminal_width=width
    )
    assert done.exit_code == 0
    return done.output


def test_every_command_is_in_one_section() -> None:
    listed = [name for names in cli.cli.sections.values() for name in names]

    assert cli.cli.sections == SECTIONS
    assert len(listed) == len(set(listed))
    assert set(listed) == set(cli.cli.commands) == {name.split()[0] for name in OPTIONS}


def test_the_help_shows_the_sections_with_a_whole_line_for_each_command() -> None:
    found: dict[str, list[str]] = {}
    for line in _help().partition("  -h, --help")[2].splitlines()[1:]:
        if line.endswith(":") and not line.startswith(" "):
            section = found.setdefault(line[:-1], [])
        elif line.startswith("  ") and line.split()[0] in cli.cli.commands:
            name, text = line.split(maxsplit=1)
            section.append(name)
            assert len(text) > 20
            assert text.endswith("."), line
            assert not text.endswith("..."), line

    assert found == SECTIONS


def test_the_help_starts_with_three_commands_that_can_be_parsed() -> None:
    intro = _help().partition("Options:")[0]
    commands = [line.split()[1:] for line in intro.splitlines() if "  compressor " in line]

    assert [words[0] for words in commands] == ["prune", "export", "bench"]
    for name, *words in commands:
        command = cli.cli.commands[name]
        context = command.make_context(name, words, parent=click.Context(cli.cli))
        assert context.params["data_dir"] == Path("data.npz")


@pytest.mark.parametrize(
    "start",
    [[str(COMMAND)], [sys.executable, "-m", "compressor"], [sys.executable, str(ROOT / "cli.py")]],
    ids=["compressor", "python -m compressor", "python cli.py"],
)
def test_every_way_to_start_it_is_the_same_command(start: list[str], tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*start, *words], capture_output=True, text=True, cwd=tmp_path, timeout=60
        )

    helped, refused = run("--help"), run("inspect")

    assert helped.returncode == 0
    assert helped.stdout.startswith("Usage: compressor [OPTIONS] COMMAND [ARGS]...\n")
    assert all(f"\n{title}:\n" in helped.stdout for title in SECTIONS)
    assert refused.returncode == 2
    assert refused.stderr == "error: Missing argument 'PATH'. (see compressor inspect --help)\n"


def _complete(*words: str) -> list[str]:
    """What bash would offer for the last of `words`."""
    completing = {
        "_COMPRESSOR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["compressor", *words]),
        "COMP_CWORD": str(len(words)),
    }
    # As the command does, and then say what it imported.
    program = (
        "import atexit, json, sys\n"
        "from compressor.commands.command_line import main\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ | completing,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    (loaded,) = done.stderr.splitlines()
    assert not {name.partition(".")[0] for name in json.loads(loaded)} & {
        *("tensorflow", "keras", "numpy", "onnx", "onnxruntime", "ai_edge_litert", "scipy")
    }
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_completion_offers_commands_options_and_values() -> None:
    assert sorted(_complete("")) == sorted(cli.cli.commands)
    assert sorted(_complete("sp")) == ["sparsify"]
    assert _complete("runtimes", "ins") == ["install"]
    assert _complete("prune", "--data") == ["--data"]
    assert _complete("export", "--quantize", "int") == ["int8", "int4"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_takes_the_completion_script() -> None:
    source = subprocess.run(
        [COMMAND],
        capture_output=True,
        text=True,
        env=os.environ | {"_COMPRESSOR_COMPLETE": "bash_source"},
        timeout=60,
    )
    assert (source.returncode, source.stderr) == (0, "")

    shown = subprocess.run(
        ["bash", "--norc", "-c", f"{source.stdout}\ncomplete -p compressor"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "_compressor_completion() {" in source.stdout
    assert shown.returncode == 0, shown.stderr
    assert "-F _compressor_completion" in shown.stdout
    assert shown.stdout.endswith(" compressor\n")
