"""run: classify the examples in files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from deploy.errors import RequestError
from deploy.fields import LONGEST_PATH
from deploy.files import read_regular
from deploy.runner.commands.options import add_count, add_engine_options, add_picture_options
from deploy.runner.source import BundleSource
from deploy.text import clean

if TYPE_CHECKING:
    import numpy as np

    from deploy.model import Model, Predictions

SUMMARY = "classify pictures and other examples"
DESCRIPTION = (
    "Classify the examples in files: PNG, IDX (raw or gzipped), .npy, or .npz for several inputs. "
    "Prints a line an example: file, index in it, label, probability."
)

_MOST_BYTES = 2**30
_MOST_BATCH = 2**16
_STANDARD_INPUT = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="examples; - is standard input")
    parser.add_argument("--json", action="store_true", help="print a JSON object an example")
    add_count(parser, "--top", 1000, 1, "how many labels to print, best first; --json has all")
    add_count(parser, "--batch", _MOST_BATCH, 1, "examples that run at once")
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
    model = Model.load(bundle, arguments.threads, arguments.any_version)
    for name in arguments.files:
        stored = reader.read(_content(name), name)
        for first, predictions in _classified(model, stored, arguments.batch, name):
            for line in _answers(name, first, predictions, arguments):
                print(line)
        sys.stdout.flush()
    return 0


def _content(name: str) -> bytes:
    if name != _STANDARD_INPUT:
        return read_regular(name, _MOST_BYTES)
    content = sys.stdin.buffer.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise RequestError("standard input is too long", hint=f"at most {_MOST_BYTES:,} bytes")
    return content


def _classified(
    model: Model, stored: Mapping[str, np.ndarray], batch: int, name: str
) -> Iterator[tuple[int, Predictions]]:
    """The index of each batch's first example in file `name`, and its predictions."""
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
            predictions = model.classify(part, batch)
        except RequestError as error:
            value = f"{name}: {error.value}"
            raise RequestError(error.what, value=value, hint=error.hint) from error
        yield first, predictions


def _answers(
    name: str, first: int, predictions: Predictions, arguments: argparse.Namespace
) -> Iterator[str]:
    for number in range(len(predictions)):
        if arguments.json:
            yield json.dumps(
                {"file": name, "index": first + number, **predictions.describe(number)}
            )
            continue
        label, probability = predictions.label(number), predictions.probability(number)
        parts = [clean(name, LONGEST_PATH), str(first + number), label, f"{probability:.4f}"]
        if arguments.top > 1:
            ranking = predictions.ranking(number, arguments.top)
            parts.append(" ".join(f"{found}:{value:.4f}" for found, value in ranking))
        yield "\t".join(parts)
