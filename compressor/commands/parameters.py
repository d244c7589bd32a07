"""How the command line reads words: the paper's spellings, lists, and quiet libraries."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import click

from compressor.foundation import NativeOutput, confine_libraries, load_custom

_UNICODE_MINUS = "\N{MINUS SIGN}"

ALIASES = {
    "data-dir": "data",
    "train-data-dir": "data",
    "test-data-dir": "data",
    "sparse-ratio": "sparsity",
    "pruning-variable-names": "layers",
}
"""The paper's names of options, and the names under which --help lists them."""


CUSTOM = "custom_modules"
"""The parameter of --custom, which a command does not see."""


def canonical(name: str) -> str:
    """The name of an option, without its dashes: `train_data_dir` is `data`."""
    dashed = name.replace("_", "-")
    return ALIASES.get(dashed, dashed)


SETTINGS: dict[str, Any] = {
    "token_normalize_func": canonical,
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "show_default": True,
}


class Command(click.Command):
    """A command that takes the paper's spellings, and keeps native libraries quiet.

    Underscores in options are dashes, the minus sign that the paper prints is a hyphen, a list may
    be written `w_fc1, w_fc2`, and the names of `ALIASES` are taken for those that they stand for.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options["context_settings"] = SETTINGS | options.get("context_settings", {})
        super().__init__(*arguments, **options)
        self.params.append(
            click.Option(["--verbose"], is_flag=True, help="Also show TensorFlow's own messages.")
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Accept the paper's spellings, then parse as usual."""
        return super().parse_args(ctx, _join_lists([_hyphens(word) for word in args]))

    def invoke(self, ctx: click.Context) -> Any:
        """Confine libraries, and hold native output back, unless the user wants to see it.

        Then the modules of --custom are executed.
        """
        verbose, custom = ctx.params.pop("verbose"), ctx.params.pop(CUSTOM, ())
        if isinstance(ctx.obj, NativeOutput):
            confine_libraries()
            if not verbose:
                ctx.obj.hold_back()
        for module in custom:
            load_custom(module)
        return super().invoke(ctx)


class List(click.ParamType):
    """A list separated by commas or spaces; of `kind` int or float, or of names."""

    name = "list"

    def __init__(self, kind: type[int] | type[float] | type[str] = str) -> None:
        self.kind = kind

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Turn `0.1,0.3` into (0.1, 0.3), and `w_fc1, w_fc2` into ('w_fc1', 'w_fc2')."""
        if not isinstance(value, str):
            return tuple(value)
        try:
            return tuple(self.kind(part) for part in _split(value))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 1,2,3", param, ctx)


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


class InputSize(click.ParamType):
    """The size of an input, 224x224, or of several by their names: image=224x224,steps=100."""

    name = "size"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """Turn `224x224` into (224, 224), and `steps=100` into {'steps': (100,)}."""
        if not isinstance(value, str):
            return value
        parts = [part.rpartition("=") for part in _split(value)]
        try:
            sizes = {name: tuple(map(int, size.split("x"))) for name, _, size in parts}
        except ValueError:
            sizes = {}
        if not sizes or len(sizes) < len(parts) or (len(sizes) > 1 and "" in sizes):
            self.fail(f"{value!r} is neither like 224x224 nor image=224x224,steps=100", param, ctx)
        return sizes.get("", sizes)


class Share(click.ParamType):
    """A number of examples, or a fraction of all of them below 1."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        """Turn `500` into 500, and `0.1` into 0.1."""
        for kind in (click.FloatRange(0, 1, min_open=True, max_open=True), click.IntRange(1)):
            with contextlib.suppress(click.BadParameter):
                found: int | float = kind.convert(value, param, ctx)
                return found
        self.fail(f"{value!r} is neither a number of examples nor a fraction below 1", param, ctx)


class Slowdown(click.ParamType):
    """A ratio such as 1.05, none, or auto."""

    name = "ratio|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | str | None:
        """Turn `1.05` into 1.05, and `none` into None; auto stays."""
        if value in ("auto", "none"):
            return None if value == "none" else "auto"
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a ratio such as 1.05 nor none", param, ctx)


def _split(value: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", value) if part]


def _hyphens(word: str) -> str:
    stripped = word.lstrip(_UNICODE_MINUS)
    return "-" * (len(word) - len(stripped)) + stripped


def _join_lists(words: Sequence[str]) -> list[str]:
    """Join a word that ends in a comma to the next: `--layers w_fc1, w_fc2` comes as two words."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1].endswith(",") and not word.startswith("-"):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What click.option returns."""


def options(*decorators: Decorator) -> Decorator:
    """Several decorators as one, in the order in which --help lists them."""

    def apply(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorate in reversed(decorators):
            function = decorate(function)
        return function

    return apply
