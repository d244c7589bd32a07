"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressor.commands.parameters import Decorator, Names, options
from compressor.errors import UsageError

if TYPE_CHECKING:
    from compressor.remote import SshHost

PATH = click.Path(path_type=Path)


def data_option(default: str) -> Decorator:
    """--data-dir; `default` says what is taken without it."""
    return click.option(
        "--data-dir",
        "--train-data-dir",
        "--test-data-dir",
        "data_dir",
        type=PATH,
        metavar="DIR",
        help="Data set: four IDX files (raw or .gz, MNIST's names), or an .npz with x_train, "
        f"y_train, x_test and y_test. Default: {default}.",
    )


DATA = data_option("the embedded MNIST")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
FORCE = click.option("--force", is_flag=True, help="Do again, and overwrite, what is there.")
THREADS = click.option(
    "--threads", type=click.IntRange(1), help="Threads inside an operation. Default: one a core."
)
SPARSITY = click.option(
    "--sparsity",
    "--sparse-ratio",
    "sparsity",
    type=float,
    default=0.9,
    show_default=True,
    help="Fraction of the weights to remove, from 0 to below 1.",
)


GRANULARITY = click.option(
    "--granularity",
    default="weight",
    show_default=True,
    metavar="G",
    help="What goes as one: weight; 1x4, 1x16 (blocks along the inputs); 2:4 (any n:m); channel.",
)
CRITERION = click.option(
    "--criterion",
    default="magnitude",
    show_default=True,
    help="What goes first: magnitude, taylor (|weight x gradient|), or an installed criterion.",
)
VALIDATION = click.option(
    "--validation",
    type=click.IntRange(1),
    metavar="IMAGES",
    help="Training images set aside for choices. Default: 5000, or 1 in 12 if fewer.",
)


def layers_option(
    default: str | None,
    text: str = "Layers to prune: layer names, the paper's names (w_conv1, w_conv2, w_fc1, w_fc2), "
    "or all.",
) -> Decorator:
    """--layers, with `text` as its help."""
    return click.option(
        "--layers",
        "--pruning-variable-names",
        "layers",
        type=Names(),
        default=default,
        show_default=True,
        help=text,
    )


def output_option(suffix: str) -> Decorator:
    """-o for a run directory, by default named after the model with `suffix`."""
    return click.option(
        "-o",
        "--output",
        type=PATH,
        metavar="DIR",
        help=f"Run directory to write. Default: MODEL if it is one, else NAME{suffix} beside it.",
    )


def training_options(preset: str) -> Decorator:
    """How long and how a command trains, with `preset` as the default."""
    return options(
        click.option(
            "--preset",
            type=click.Choice(["quick", "paper"]),
            default=preset,
            show_default=True,
            help="quick: minutes; paper: 10,000 steps of 32 images a training.",
        ),
        click.option("--max-steps", type=click.IntRange(1), help="Batches of every training."),
        click.option("--batch-size", type=click.IntRange(1), help="Images in a batch."),
        click.option("--learning-rate", type=float, help="Adam's (highest) learning rate."),
        click.option(
            "--schedule",
            type=click.Choice(["cosine", "constant"]),
            help="How the learning rate goes: to zero by a half cosine, or not. Default: cosine.",
        ),
        VALIDATION,
        THREADS,
    )


def host_options(text: str, *, required: bool = False) -> Decorator:
    """--host, whose help is `text`, and how it is reached; they are taken by `host_of`."""
    return options(
        click.option("--host", required=required, metavar="HOST", help=text),
        click.option(
            "--python",
            metavar="PROGRAM",
            help="The Python there, with numpy and the runtime. Default: python3.",
        ),
        click.option(
            "--ssh-option",
            "ssh_options",
            multiple=True,
            metavar="OPTION",
            help="What ssh -o takes, such as Port=2222; may be given several times.",
        ),
        click.option(
            "--ssh-config", type=PATH, metavar="FILE", help="What ssh -F takes. Default: yours."
        ),
    )


def host_of(options: dict[str, Any]) -> SshHost | None:
    """Take what `host_options` gave from the options of a command: the host, or None for none.

    Raises UsageError for options of a host that is not named.
    """
    from compressor.remote import PYTHON, SshHost

    host, python = options.pop("host"), options.pop("python")
    words, config = options.pop("ssh_options"), options.pop("ssh_config")
    if host is None:
        if python or words or config:
            raise UsageError("this is for another machine", value="no --host is given")
        return None
    return SshHost(host, python or PYTHON, words, config)


SEED = click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
