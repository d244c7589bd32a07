"""Options that several commands have."""

from __future__ import annotations

import argparse

MOST_THREADS = 1024


def whole(low: int, high: int) -> type[int]:
    """A type of option: a whole number within `low` and `high`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {low} to {high:,}")
        return value

    return convert  # type: ignore[return-value]


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """--threads and --any-version."""
    parser.add_argument(
        "--threads",
        type=whole(1, MOST_THREADS),
        default=1,
        metavar="COUNT",
        help="what the runtime computes with (1)",
    )
    parser.add_argument(
        "--any-version",
        action="store_true",
        help="take a runtime of another version than the bundle was packed for",
    )


def add_picture_options(parser: argparse.ArgumentParser) -> None:
    """--resize and --invert."""
    parser.add_argument(
        "--resize",
        action="store_true",
        help="fit pictures of another size, each pixel the mean of the area it covers",
    )
    parser.add_argument(
        "--invert",
        action="store_true",
        help="for dark on light, where the model knows light on dark",
    )
