"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressor.commands import parameters
from compressor.commands.parameters import Decorator, List, options
from compressor.errors import UsageError

if TYPE_CHECKING:
    from compressor.data import Dataset
    from compressor.remote import SshHost

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(1)


def data_option(default: str) -> Decorator:
    """--data; `default` says what is used without it."""
    return click.option(
        "--data",
        "data_dir",
        type=PATH,
        metavar="PATH",
        help="Data set: a folder with MNIST's four IDX files (raw or .gz), an .npz file with "
        "x_train, y_train, x_test and y_test, or mnist, which is embedded. "
        f"Default: {default}.",
    )


def given_data(path: Path | None) -> Dataset | None:
    """The data set of --data; None without it."""
    from compressor.data import load_dataset

    return None if path is None else load_dataset(path)


def output_option(text: str, **more: Any) -> Decorator:
    """-o, with `text` as its help."""
    settings: dict[str, Any] = {"type": PATH, "metavar": "FILE", "help": text} | more
    return click.option("-o", "--output", **settings)


def run_directory_option(suffix: str) -> Decorator:
    """-o for a run directory, by default named after the model with `suffix`."""
    return output_option(
        "Run directory to write. Default: MODEL if it is a run directory, else "
        f"NAME{suffix} next to it.",
        metavar="DIR",
    )


def force_option(text: str) -> Decorator:
    """--force, with `text` as its help."""
    return click.option("--force", is_flag=True, help=text)


def keys_option(text: str, *, required: bool = False) -> Decorator:
    """--key, which may be repeated, with `text` as its help."""
    return click.option(
        "--key",
        "keys",
        type=PATH,
        multiple=True,
        required=required,
        metavar="PUB",
        help=f"{text} May be repeated.",
    )


def layers_option(
    default: str | None,
    text: str = "Layers to prune: layer names, the paper's names (w_conv1, w_conv2, w_fc1, w_fc2), "
    "or all.",
) -> Decorator:
    """--layers, with `text` as its help."""
    return click.option("--layers", type=List(), default=default, help=text)


DATA = data_option("the embedded MNIST")
MODEL_DATA = data_option("the embedded MNIST, for a model that was trained on it")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
FORCE = force_option("Redo finished work, and overwrite existing files.")
CUSTOM = click.option(
    "--custom",
    parameters.CUSTOM,
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Python file with layers, losses or metrics of your own that the model needs. It is "
    "executed. May be repeated.",
)
LABELS = click.option(
    "--labels",
    type=List(),
    metavar="LIST",
    help="Class names, in order, for the artefact's description. Default: numbers.",
)
INPUT_SIZE = click.option(
    "--input-size",
    type=parameters.InputSize(),
    metavar="SIZE",
    help="Without data: the sizes that the model's input leaves open, such as 224x224; by name if "
    "several do: image=224x224,steps=100.",
)
INPUT_RANGE = click.option(
    "--input-range",
    type=List(float),
    metavar="LOW,HIGH",
    help="Without data: the bounds of the values that the model takes, such as 0,255. The random "
    "inputs are then drawn between them, and int8 is calibrated on others like them. Default: 0,1, "
    "and no int8.",
)
THREADS = click.option(
    "--threads", type=COUNT, help="Threads per operation. Default: one per core."
)
WORKERS = click.option(
    "--workers", type=COUNT, metavar="N", help="Train in N processes. Default: in this one."
)
CLUSTER = click.option(
    "--cluster", metavar="ADDRESS", help="Train on a Dask cluster, tcp://HOST:8786."
)
SEED = click.option("--seed", type=click.IntRange(0), default=0, help="Random seed.")
GRANULARITY = click.option(
    "--granularity",
    default="weight",
    metavar="G",
    help="What is removed as one: weight; 1x4 or 1x16 (blocks along the inputs); 2:4 (any n:m); "
    "channel.",
)
CRITERION = click.option(
    "--criterion",
    default="magnitude",
    help="How weights are chosen: magnitude, taylor (|weight x gradient|), or an installed "
    "criterion remove the lowest scores; reconstruct also changes what is left, so that each "
    "layer's outputs change least (needs no labels).",
)
VALIDATION = click.option(
    "--validation",
    type=COUNT,
    metavar="IMAGES",
    help="Training images held out for validation. Default: 5000, at most 1 in 12.",
)


def training_options(preset: str) -> Decorator:
    """How long and how a command trains, with `preset` as the default."""
    return options(
        click.option(
            "--preset",
            type=click.Choice(["quick", "paper"]),
            default=preset,
            help="quick: minutes; paper: 10,000 steps of 32 images per training.",
        ),
        click.option("--max-steps", type=COUNT, help="Training steps (batches) per training."),
        click.option("--batch-size", type=COUNT, help="Images per batch."),
        click.option("--learning-rate", type=float, help="Adam's peak learning rate."),
        click.option(
            "--schedule",
            type=click.Choice(["cosine", "constant"]),
            help="Learning-rate schedule: cosine decay to zero, or constant. Default: cosine.",
        ),
        VALIDATION,
        THREADS,
    )


def host_options(text: str, *, required: bool = False) -> Decorator:
    """--host, whose help is `text`, and how to reach it; `host_of` reads them."""
    return options(
        click.option("--host", required=required, metavar="HOST", help=text),
        click.option(
            "--python",
            metavar="PROGRAM",
            help="Python on the host, with numpy and the runtime. Default: python3.",
        ),
        click.option(
            "--ssh-option",
            "ssh_options",
            multiple=True,
            metavar="OPTION",
            help="Passed to ssh -o, such as Port=2222. May be repeated.",
        ),
        click.option(
            "--ssh-config", type=PATH, metavar="FILE", help="Passed to ssh -F. Default: yours."
        ),
    )


def host_of(options: dict[str, Any]) -> SshHost | None:
    """Take the options of `host_options` out of a command's options; None without --host.

    Raises UsageError when the host's options are given without --host.
    """
    from compressor.remote import PYTHON, SshHost

    host, python = options.pop("host"), options.pop("python")
    words, config = options.pop("ssh_options"), options.pop("ssh_config")
    if host is None:
        if python or words or config:
            raise UsageError("--python and the --ssh options need --host", value="none is given")
        return None
    return SshHost(host, python or PYTHON, words, config)
