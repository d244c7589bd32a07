"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compressor.commands import parameters
from compressor.commands.output import say
from compressor.commands.parameters import Decorator, List, options
from compressor.errors import UsageError

if TYPE_CHECKING:
    from compressor.data import Dataset
    from compressor.remote import SshHost

PATH = click.Path(path_type=Path)
COUNT = click.IntRange(1)


def data_option(default: str) -> Decorator:
    """--data, and how it is read; `default` says what is used without it."""
    return options(
        click.option(
            "--data",
            "data_dir",
            type=PATH,
            metavar="PATH",
            help="Data set: an .npz file or a folder of .npy files (x_train, y_train, x_test, "
            "y_test, or x and y), MNIST's IDX files, a folder of pictures with a subfolder a class "
            "(or train and test with such), CSV, Parquet or TFRecord, a saved tf.data dataset, or "
            f"mnist, which is embedded. Default: {default}.",
        ),
        _reading("x", List(), "KEY", "Inputs in an .npz file; TRAIN,TEST for two keys."),
        _reading("y", List(), "KEY", "Targets, likewise."),
        _reading("label", List(), "COLUMN", "Column of a table that is the target, or several."),
        _reading(
            "features",
            str,
            "SPEC",
            "What TFRecord examples hold: image=picture:96x96x3,label=int64.",
        ),
        _reading(
            "resize",
            parameters.InputSize(),
            "SIZE",
            "Size of pictures, such as 96x96 or 96x96x1. Default: the model's, else their own.",
        ),
        _reading(
            "test",
            click.FloatRange(0, 1, min_open=True, max_open=True),
            "FRACTION",
            "Examples set aside for testing where the data have no test part. Default: 0.2.",
        ),
    )


def _reading(name: str, kind: Any, metavar: str, text: str) -> Decorator:
    """An option of how data are read, kept for `given_data`."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            context.meta.setdefault(_READING, {})[name] = value

    return click.option(
        f"--{name}", type=kind, metavar=metavar, help=text, expose_value=False, callback=keep
    )


_READING = f"{__name__}.reading"


def given_data(path: Path | None) -> Dataset | None:
    """The data set of --data, read as the other options say; None without it.

    What the reader did with it is said on standard error.
    """
    from compressor.data import listed, load_dataset

    context = click.get_current_context()
    how = context.meta.get(_READING, {})
    if path is None:
        if how:
            raise UsageError(f"--{next(iter(how))} has no effect without --data")
        return None
    data = load_dataset(path, **how, sizes=lambda: _size_taken(context.params))
    for note in data.notes:
        say(f"note: {note}", err=True)
    if data.labels is not None:
        shown = listed(f"{number} = {name}" for number, name in enumerate(data.labels))
        say(f"note: the classes are {shown}", err=True)
    return data


def data_or_mnist(path: Path | None) -> Dataset:
    """The data set of --data, else the embedded MNIST."""
    from compressor.data import load_dataset

    return given_data(path) or load_dataset(None)


def _size_taken(given: dict[str, Any]) -> tuple[int | None, ...] | None:
    """The shape of a row that the command's model or first artefact takes; None if not known."""
    from compressor.exporters import shape_taken

    names = ("model", "checkpoint", "artefacts")
    paths = next((given[name] for name in names if given.get(name)), None)
    path = paths[0] if isinstance(paths, tuple) else paths
    return None if path is None else shape_taken(path)


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
    type=parameters.Share(),
    metavar="IMAGES",
    help="Training images held out for validation, or a fraction of them, such as 0.1. Default: "
    "5000, at most 1 in 12.",
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
