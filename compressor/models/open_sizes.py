"""Inputs with open sizes, such as (None, None, 3): which sizes they are run with.

They are those of the data; where there are none, those that the user names. None is guessed: after
several poolings nothing would be left of a small image, and a large one costs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from compressor.data import listed
from compressor.errors import DataError, UsageError
from compressor.foundation import quiet_tensorflow
from compressor.models.layers import around, unframed
from compressor.models.preprocessing import Preprocessing, input_names, structure
from compressor.models.tracing import Shape

InputSize = Sequence[int] | Mapping[str, Sequence[int]]
"""The open sizes of the one input that has any, or by the names of inputs; whole shapes, too."""
Sizes = dict[str, tuple[int, ...]]
"""Input name -> its shape, without the batch."""

_MOST = 2**28


def open_inputs(model: Any) -> dict[str, Shape]:
    """The inputs of a model that have an open size, by name, without the batch."""
    _, keras = quiet_tensorflow.load()
    shapes = (tuple(tensor.shape[1:]) for tensor in keras.tree.flatten(structure(model)))
    named = zip(input_names(model), shapes, strict=True)
    return {name: shape for name, shape in named if None in shape}


def sizes_given(model: Any, given: InputSize | None) -> Sizes:
    """The shapes of all inputs with open sizes, as the user named them; empty if there is none.

    Raises UsageError where the size of an input is missing, does not fit, or is not open.
    """
    return named_sizes(open_inputs(model), given)


def named_sizes(wanted: Mapping[str, Shape], given: InputSize | None) -> Sizes:
    """The whole shapes of inputs whose `wanted` ones leave sizes open, as the user named them.

    Raises UsageError as `sizes_given` does.
    """
    if given is None:
        given = {}
    elif not isinstance(given, Mapping):
        if len(wanted) > 1:
            what = "several inputs have open sizes: name the size of each"
            raise UsageError(what, value=_shown(wanted), hint=_example(wanted))
        given = dict.fromkeys(wanted or ("",), given)
    if unknown := [name for name in given if name not in wanted]:
        what = "the model has no input of an open size by that name"
        if not wanted:
            what, unknown = "no input of the model has an open size", [str(given[unknown[0]])]
        raise UsageError(what, value=listed(unknown), hint=_shown(wanted) and _example(wanted))
    if missing := {name: shape for name, shape in wanted.items() if name not in given}:
        raise UsageError(
            "the size of an input is open, and nothing gives it",
            value=_shown(missing),
            hint=f"give data, or {_example(wanted)}",
        )
    return {name: _shape(name, wanted[name], tuple(given[name])) for name in wanted}


def sizes_fed(model: Any, feed: Preprocessing, given: InputSize | None = None) -> Sizes:
    """The shapes of all inputs with open sizes, as the data have them; empty if there is none.

    Raises UsageError where the user named others, DataError where the model cannot take them.
    """
    wanted = open_inputs(model)
    fed = {
        rule.name: shape
        for rule, shape in zip(feed.rules, feed.row_shapes, strict=True)
        if rule.name in wanted
    }
    if given is not None and (named := sizes_given(model, given)) != fed:
        value = f"named {_shown(named)}, data {_shown(fed)}"
        raise UsageError("the data have another size than was named", value=value)
    if fed:
        sized(model, fed)
    return fed


def sized(model: Any, sizes: Sizes) -> Any:
    """`model` with inputs of these sizes: a frame around it, which shares its layers.

    Raises DataError where it cannot take them.
    """
    _, keras = quiet_tensorflow.load()
    names, layout = input_names(model), structure(model)
    inputs = [
        keras.Input(sizes.get(name, tensor.shape[1:]), dtype=tensor.dtype, name=name)
        for name, tensor in zip(names, keras.tree.flatten(layout), strict=True)
    ]
    try:
        outputs = model(keras.tree.pack_sequence_as(layout, inputs))
        if any(0 in tensor.shape for tensor in keras.tree.flatten(outputs)):
            raise ValueError("nothing is left of it")
    except Exception as error:  # Keras raises whatever a layer makes it raise
        from compressor.models.files import reason_of

        raise DataError(
            "the model cannot take inputs of this size",
            value=f"{_shown(sizes)} ({reason_of(error)})",
            hint="give larger ones",
        ) from error
    frame = keras.Model(keras.tree.pack_sequence_as(layout, inputs), outputs, name=model.name)
    return around(frame, unframed(model))


def _shape(name: str, wanted: Shape, given: tuple[int, ...]) -> tuple[int, ...]:
    """The whole shape of an input that the user named, or named the open sizes of."""
    places = [place for place, size in enumerate(wanted) if size is None]
    whole = list(wanted)
    if len(given) == len(places):
        for place, size in zip(places, given, strict=True):
            whole[place] = size
    elif len(given) == len(wanted):
        whole = list(given)
    counts = all(isinstance(size, int) and size > 0 for size in whole)
    fits = all(size in (None, new) for size, new in zip(wanted, whole, strict=True))
    if not (counts and fits) or math.prod(size or 0 for size in whole) > _MOST:
        raise UsageError(
            "this size does not fit the input",
            value=f"{'x'.join(map(str, given))} for {name} {wanted}",
            hint=_example({name: wanted}),
        )
    return tuple(size or 0 for size in whole)


def _shown(shapes: Mapping[str, Sequence[int | None]]) -> str:
    return listed(f"{name} {tuple(shape)}" for name, shape in shapes.items()) if shapes else ""


def _example(wanted: Mapping[str, Shape]) -> str:
    """How the sizes are named: --input-size 64x64, or image=64x64,steps=64."""
    sizes = {name: "x".join(["64"] * shape.count(None)) for name, shape in wanted.items()}
    text = ",".join(f"{name}={size}" for name, size in sizes.items())
    text = text.partition("=")[2] if len(sizes) == 1 else text
    return f"--input-size {text} (in Python, input_size)"
