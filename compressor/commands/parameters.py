"""How the command line takes options: the paper's spelling, lists, and quiet libraries."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from compressor.foundation import NativeOutput

_UNICODE_MINUS = "\N{MINUS SIGN}"
SETTINGS: dict[str, Any] = {
    "token_normalize_func": lambda name: name.replace("_", "-"),
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
}


class Command(click.Command):
    """A command that takes the paper's spelling, and keeps native libraries quiet.

    Underscores in options are dashes, the minus sign that the paper prints is a hyphen, and a
    list may be written `w_fc1, w_fc2`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options["context_settings"] = SETTINGS | options.get("context_settings", {})
        super().__init__(*arguments, **options)
        self.params.append(
            click.Option(["--verbose"], is_flag=True, help="Show what TensorFlow writes, too.")
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Accept the paper's spelling, then parse as ever."""
        return super().parse_args(ctx, _join_lists([_hyphens(word) for word in args]))

    def invoke(self, ctx: click.Context) -> Any:
        """Hold native output back, unless the user wants to see it."""
        if not ctx.params.pop("verbose") and isinstance(ctx.obj, NativeOutput):
            ctx.obj.hold_back()
        return super().invoke(ctx)


class Numbers(click.ParamType):
    """A list of numbers, separated by commas or spaces."""

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind
        self.name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Turn `0.1,0.3` into (0.1, 0.3)."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            return tuple(self.kind(part) for part in _split(value))
        except ValueError:
            self.fail(f"{value!r} is no list of numbers such as 1,2,3", param, ctx)


class Names(click.ParamType):
    """A list of names, separated by commas or spaces."""

    name = "list"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Turn `w_fc1, w_fc2` into ('w_fc1', 'w_fc2')."""
        return tuple(_split(value)) if isinstance(value, str) else tuple(value)


class Sparsities(click.ParamType):
    """One sparsity, or one for each layer: 0.9, or fc1=0.95,conv2=0.8."""

    name = "sparsity"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | dict[str, float]:
        """Turn `0.9` into 0.9 and `fc1=0.95` into {'fc1': 0.95}."""
        if not isinstance(value, str):
            return value
        try:
            if "=" not in value:
                return float(value)
            pairs = [part.rpartition("=") for part in _split(value)]
            found = {name: float(sparsity) for name, _, sparsity in pairs}
        except ValueError:
            self.fail(f"{value!r} is neither a number nor like fc1=0.95,conv2=0.8", param, ctx)
        if "" in found or len(found) < len(pairs):
            self.fail(f"{value!r} does not name each layer once", param, ctx)
        return found


def _split(value: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", value) if part]


def _hyphens(word: str) -> str:
    stripped = word.lstrip(_UNICODE_MINUS)
    return "-" * (len(word) - len(stripped)) + stripped


def _join_lists(words: Sequence[str]) -> list[str]:
    """`--layers w_fc1, w_fc2` comes as two words: join a word that ends in a comma to the next."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].endswith(",") and not word.startswith("-"):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What click.option makes."""


def options(*decorators: Decorator) -> Decorator:
    """Several decorators as one, in the order in which --help lists them."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorate in reversed(decorators):
            function = decorate(function)
        return function

    return apply
