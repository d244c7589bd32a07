"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

MOST_THREADS = 1024


def whole(low: int, high: int) -> Callable[[str], int]:
    """The type of an option that takes an integer from `low` to `high`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low} to {high:,}")
        return value

    return convert


def add_count(
    parser: argparse.ArgumentParser, option: str, most: int, default: int, what: str
) -> None:
    parser.add_argument(
        option,
        type=whole(1, most),
        default=default,
        metavar="COUNT",
        help=f"{what} ({default:,})",
    )


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    add_count(parser, "--threads", MOST_THREADS, 1, "threads of the runtime")
    parser.add_argument(
        "--any-version",
        action="store_true",
        help="accept another version of the runtime than the bundle was packed for",
    )


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resize",
        action="store_true",
        help="resize pictures of another size: each pixel is the mean of the area it covers",
    )
    parser.add_argument(
        "--invert",
        action="store_true",
        help="for dark on light pictures, if the model was trained on light on dark",
    )
