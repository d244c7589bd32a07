"""What the command line offers, and that saying so is quick."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import compressor
from compressor.commands import command_line as cli

TRAINING = ["--preset", "--max-steps", "--batch-size", "--learning-rate"]
TRAINING += ["--schedule", "--validation"]
DATA = ["--data", "--x", "--y", "--label", "--features", "--resize", "--test"]
ALWAYS = ["--json", "--verbose"]
HOST = ["--host", "--python", "--ssh-option", "--ssh-config"]

# A change here is a change for users: it belongs in CHANGELOG.md.
OPTIONS = {
    "train": [
        *("-1", "-2", "-3", "--train-dir", "--variables-dir", "--seed", "--threads", "--force"),
        "--custom",
        *(*DATA, "--sparsity", "--layers", *TRAINING, *ALWAYS),
    ],
    "prune": [
        *("MODEL", "-o", "--output", "--retrain", "--no-retrain", "--seed", "--threads"),
        "--custom",
        *("--global", "--granularity", "--criterion", "--calibration", "--pruning-schedule"),
        *("--rounds", "--ramp", "--epochs", "--rewind"),
        *("--distill", "--distill-weight", "--temperature", "--class-weight"),
        *("--task", "--metric", "--max-drop", "--max-class-drop"),
        *("--force", *DATA, "--sparsity", "--layers", *TRAINING, *ALWAYS),
        *("--input-size", "--input-range"),
    ],
    "shrink": [
        *("MODEL", "-o", "--output", "--round-to", "--fold-batchnorm", "--no-fold-batchnorm"),
        *("--threads", "--force", "--custom", "--input-size", *DATA, *ALWAYS),
    ],
    "sensitivity": [
        *("MODEL", "-o", "--output", "--sparsities", "--granularity", "--criterion", "--images"),
        *("--task", "--metric"),
        *("--validation", "--threads", "--custom", *DATA, "--layers", *ALWAYS),
    ],
    "sparsify": [
        *("MODEL", "-o", "--output", "--threads", "--force", "--custom", *DATA, "--layers"),
        *("--input-size", *ALWAYS),
    ],
    "evaluate": [
        *("CHECKPOINT", "--checkpoint-dir", "--batch-size", "--max-steps", "--threads"),
        *("--custom", *DATA, *ALWAYS),
    ],
    "sweep": [
        *("-o", "--output", "--sparsities", "--layers", "--seeds", "--export", "--threads"),
        "--force",
        *("--workers", "--cluster", *DATA, *TRAINING, *ALWAYS),
    ],
    "import": ["MODEL", "-o", "--output", "--custom", "--force", *ALWAYS],
    "inspect": ["PATH", "OTHER", "--custom", *ALWAYS],
    "export": [
        *("MODEL", "-o", "--output", "--format", "--for", "--quantize", "--optimize"),
        *(
            "--rounding",
            "--values",
            "--encoding",
            "--labels",
            "--threads",
            "--force",
            *DATA,
            "--max-slowdown",
            *("--task", "--metric", "--max-drop"),
            *HOST,
        ),
        *("--custom", "--input-size", "--input-range", *ALWAYS),
    ],
    "search": [
        *("MODEL", "-o", "--output", "--minimize", "--max-drop", "--min-accuracy", "--max-bytes"),
        *("--max-latency-ms", "--format", "--device", "--time-budget", "--trials", "--max-steps"),
        *("--de-scheme", "--de-population", "--de-scale", "--de-crossover", "--de-generations"),
        *("--workers", "--cluster", "--trial-limit", "--validation", "--threads", "--seed"),
        *("--max-ram", "--max-error", "--task", "--metric", "--custom", "--force"),
        *(*DATA, *HOST, *ALWAYS),
    ],
    "apply": [
        *("RECIPE", "MODEL", "-o", "--output", "--threads", "--custom", "--force", *DATA),
        *ALWAYS,
    ],
    "devices": ["DEVICE", *ALWAYS],
    "keygen": ["NAME", *ALWAYS],
    "package": [
        *("ARTEFACTS", "--device", "-o", "--output", "--name", "--sign", "--counter"),
        *("--latencies", "--web-runtime", "--force", *ALWAYS),
        *(*DATA, "--labels", "--input-size", "--input-range"),
    ],
    "verify": ["BUNDLE", "--key", "--static", *ALWAYS],
    "runner": ["--key", "-o", "--output", *HOST, "--folder", "--force", *ALWAYS],
    "deploy": ["BUNDLE", *HOST, "--folder", "--rollback", "--remove", *ALWAYS],
    "runtimes list": ALWAYS,
    "runtimes install": ["NAME", *ALWAYS],
    "report": ["RUN", "--custom", *ALWAYS],
    "bench": [
        *("ARTEFACTS", "--runtime", "--threads", "--batch", "--examples", "--rounds", "--starts"),
        *("--round-seconds", "--time-limit", "-o", "--output", *HOST, *DATA, *ALWAYS),
    ],
}
DEFAULTS = {
    "train": {"preset": "paper", "sparsity": 0.9, "layers": "w_fc1,w_fc2", "seed": 0},
    "prune": {
        **{"preset": "quick", "layers": "all", "seed": 0, "retrain": True},
        **{"granularity": "weight", "criterion": "magnitude", "pruning_schedule": "one-shot"},
        "max_class_drop": 5.0,
    },
    "bench": {"threads": "1", "batches": "1", "rounds": 15, "starts": 3, "time_limit": 120.0},
    "export": {"values": "8"},
    "shrink": {"round_to": 1, "fold_batchnorm": True},
    "sensitivity": {
        **{"layers": "all", "granularity": "weight", "criterion": "magnitude"},
        "images": 1000,
    },
    "evaluate": {"batch_size": 32, "max_steps": 10},
    "sweep": {
        "preset": "quick",
        "sparsities": "0.1,0.3,0.5,0.7,0.8,0.9",
        "layers": "w_fc1,w_fc2",
        "seeds": "0",
    },
}


ALIASES = {
    "--data": [
        *("--data-dir", "--data_dir", "--train-data-dir", "--train_data_dir"),
        *("--test-data-dir", "--test_data_dir"),
    ],
    "--sparsity": ["--sparse-ratio", "--sparse_ratio"],
    "--layers": ["--pruning-variable-names", "--pruning_variable_names"],
}


def _commands() -> dict[str, click.Command]:
    """Every command by the words that call it; a group is called by those of its commands."""
    found: dict[str, click.Command] = {}
    for name, command in cli.cli.commands.items():
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}": one for inner, one in command.commands.items()}
        else:
            found[name] = command
    return found


def _names(parameter: click.Parameter) -> list[str]:
    if isinstance(parameter, click.Argument):
        return [str(parameter.name).upper()]
    return [*parameter.opts, *parameter.secondary_opts]


def test_the_commands_and_their_options_are_pinned() -> None:
    found = {
        name: sorted(word for parameter in command.params for word in _names(parameter))
        for name, command in _commands().items()
    }

    assert found == {name: sorted(options) for name, options in OPTIONS.items()}


@pytest.mark.parametrize("option", ALIASES)
def test_aliases_are_taken_by_every_command_that_has_the_option(option: str) -> None:
    names = [name for name, options in OPTIONS.items() if option in options]
    assert names
    for name in names:
        command = _commands()[name]
        parent = click.Context(cli.cli)
        taken = ("MODEL", "ARTEFACTS", "CHECKPOINT", "RECIPE")
        given = [word for word in OPTIONS[name] if word in taken]
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.required:
                given += [parameter.opts[0], "given"]
        wanted = command.make_context(name, [*given, option, "0.5"], parent=parent).params

        assert "0.5" in str(wanted)
        for alias in ALIASES[option]:
            words = [*given, alias, "0.5"]
            assert command.make_context(name, words, parent=parent).params == wanted
            assert (
                alias
                not in CliRunner().invoke(cli.cli, [name, "--help"]).output.partition("Options:")[2]
            )


def test_what_reads_data_takes_it_by_one_name() -> None:
    for name, command in _commands().items():
        takes = "data_dir" in {parameter.name for parameter in command.params}
        assert takes == ("--data" in OPTIONS[name])


def test_the_defaults_are_pinned() -> None:
    found = {
        name: {
            parameter.name: parameter.default
            for parameter in _commands()[name].params
            if parameter.name in defaults
        }
        for name, defaults in DEFAULTS.items()
    }

    assert found == DEFAULTS


@pytest.mark.parametrize("name", OPTIONS)
def test_every_help_has_examples_that_can_be_parsed(name: str) -> None:
    text = CliRunner().invoke(cli.cli, [*name.split(), "--help"]).output
    _, _, examples = text.partition("Example")
    lines = examples.partition("\n\n")[0].replace("\\\n", " ").split("\n")
    commands = [line.split()[1:] for line in lines if line.split()[:1] == ["compressor"]]

    assert commands
    for words in commands:
        given = words[len(name.split()) :]
        assert words[: len(name.split())] == name.split()
        command = _commands()[name]
        assert command.make_context(name, given, parent=click.Context(cli.cli)).params


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([*name.split(), "--help"] for name in OPTIONS)],
    ids=" ".join,
)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import atexit, json, sys, cli\n"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )

    loaded = {name.partition(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    assert done.returncode == 0
    assert "compressor" in done.stdout
    assert not loaded & {
        *("tensorflow", "keras", "absl", "scipy", "matplotlib", "h5py", "numpy", "jax", "jinja2"),
        *("onnx", "onnxruntime", "ai_edge_litert", "filelock", "jsonschema"),
    }


def test_the_version_is_that_of_the_package() -> None:
    output = CliRunner().invoke(cli.cli, ["-V"], prog_name="compressor").output

    assert output == f"compressor {compressor.__version__}\n"
