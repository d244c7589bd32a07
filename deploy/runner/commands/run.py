"""run: what the model says of the examples in files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.errors import RequestError
from deploy.fields import LONGEST_PATH
from deploy.files import read_regular
from deploy.runner.commands.options import add_count, add_engine_options, add_picture_options
from deploy.runner.source import BundleSource
from deploy.text import clean

if TYPE_CHECKING:
    import numpy as np

    from deploy.answers import Answers, Predictions
    from deploy.artifact import Artifact
    from deploy.model import Model
    from deploy.runner.commands.masks import Masks
    from deploy.runner.commands.targets import Collected

SUMMARY = "answer for pictures and other examples: labels, numbers, masks, anomaly scores"
DESCRIPTION = (
    "Run the model on the examples in files: PNG, IDX (raw or gzipped), .npy, or .npz for several "
    "inputs. Prints a line an example: file, index in it, and of a classifier label and "
    "probability; of several labels those that hold; of a regression its numbers; of a "
    "segmentation the share of each class and the PNG file of the mask, whose pixels are class "
    "numbers; of an autoencoder the reconstruction error, which is high for anomalies. Of several "
    "outputs: NAME= before each."
)

_MOST_BYTES = 2**30
_MOST_BATCH = 2**16
_STANDARD_INPUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="examples; - is standard input")
    parser.add_argument("--json", action="store_true", help="print a JSON object an example")
    add_count(parser, "--top", 1000, 1, "how many labels to print, best first; --json has all")
    add_count(parser, "--batch", _MOST_BATCH, 1, "examples that run at once")
    parser.add_argument(
        "--masks",
        metavar="FOLDER",
        help="where masks are written, as NAME.mask.png (beside each file)",
    )
    parser.add_argument(
        "--targets",
        metavar="FILE",
        help="what is right, of all examples: .npy, or .npz by the names of several outputs; of an "
        "autoencoder 1 for anomalies, 0 for others. The metrics are printed last",
    )
    add_picture_options(parser)
    add_engine_options(parser)


def execute(arguments: argparse.Namespace, source: BundleSource) -> int:
    """Print a line an example, up to the first file that cannot be read."""
    bundle = source.open()
    # After the checks: what is not trusted does not even cost an import.
    from deploy.images.reader import ExampleReader
    from deploy.model import Model

    reader = ExampleReader(
        bundle.artifact, bundle.vectors, resize=arguments.resize, invert=arguments.invert
    )
    collected = _collected(bundle.artifact, arguments.targets)
    masks = _masks(bundle.artifact, arguments)
    model = Model.load(bundle, arguments.threads, arguments.any_version)
    for name in arguments.files:
        stored = reader.read(_content(name), name)
        for first, answers in _classified(model, stored, arguments.batch, name):
            if collected is not None:
                collected.add(answers)
            for line in _lines(name, first, answers, masks, arguments):
                print(line)
        sys.stdout.flush()
    if collected is not None:
        for line in collected.lines(as_json=arguments.json):
            print(line)
    return 0


def _masks(artifact: Artifact, arguments: argparse.Namespace) -> Masks | None:
    from deploy.tasks import SEGMENTATION

    if not any(head.task == SEGMENTATION for head in artifact.tasks):
        if arguments.masks is not None:
            hint = "only a segmentation gives masks: leave --masks out"
            raise RequestError("the model gives no masks", value=artifact.file, hint=hint)
        return None
    from deploy.runner.commands.masks import Masks

    return Masks(None if arguments.masks is None else Path(arguments.masks), arguments.files)


def _collected(artifact: Artifact, name: str | None) -> Collected | None:
    if name is None:
        return None
    from deploy.runner.commands.targets import Collected

    return Collected.of(artifact.tasks, read_regular(name, _MOST_BYTES), name)


def _content(name: str) -> bytes:
    if name != _STANDARD_INPUT:
        return read_regular(name, _MOST_BYTES)
    content = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise RequestError("standard input is too long", hint=f"at most {_MOST_BYTES:,} bytes")
    return content


def _classified(
    model: Model, stored: Mapping[str, np.ndarray], batch: int, name: str
) -> Iterator[tuple[int, Predictions | Answers]]:
    """The index of each batch's first example in file `name`, and what the model says of it."""
    lengths = {len(array) if array.ndim else 0 for array in stored.values()}
    if len(lengths) != 1 or 0 in lengths:
        counts = ", ".join(map(str, sorted(lengths)))
        raise RequestError(
            "the arrays differ in their number of rows, or have none",
            value=f"{name} has {counts or 'none'}",
        )
    for first in range(0, lengths.pop(), batch):
        part = {source: array[first : first + batch] for source, array in stored.items()}
        try:
            answers = model.classify(part, batch)
        except RequestError as error:
            value = f"{name}: {error.value}"
            raise RequestError(error.what, value=value, hint=error.hint) from error
        yield first, answers


def _lines(
    name: str,
    first: int,
    answers: Predictions | Answers,
    masks: Masks | None,
    arguments: argparse.Namespace,
) -> Iterator[str]:
    for number in range(len(answers)):
        place = first + number
        written = {} if masks is None else masks.write(name, place, answers, number)
        if arguments.json:
            described = answers.describe(number)
            if masks is not None:
                described = masks.described(described, written)
            yield json.dumps({"file": name, "index": place, **described})
            continue
        parts = [clean(name, LONGEST_PATH), str(place), *answers.texts(number, arguments.top)]
        parts += [clean(path, LONGEST_PATH) for path in written.values()]
        yield "\t".join(parts)
