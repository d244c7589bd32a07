"""Recurrent layers while a model is traced: as a loop over the steps, or unrolled.

Keras collects the steps in lists of tensors, which TFLite has only where the batch size is fixed.
Here a step is read from one tensor, and written to one, so that any batch size, and any number of
steps, works. The layers compute what they do in inference:

1. Dropout is off.
2. LSTM, GRU and SimpleRNN multiply the inputs of all steps with the kernel at once, in front of the
   loop, which keeps the recurrent kernel. Any other cell is called in every step.
3. A layer of at most a given number of steps is unrolled, every step with operators of its own; a
   longer one, or one with an open number of steps, becomes a loop.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from compressor.exporters.half_precision import changed
from compressor.exporters.loops import inner_loop
from compressor.exporters.request import Optimize
from compressor.foundation import quiet_tensorflow

SHORT = 8
"""Steps of which the operators may take fewer bytes than a loop: both are built, to see."""
FAST = 32
"""Up to so many steps unrolled layers run faster than loops; measured on x86-64, LSTM of 16 and 64
units: 5 to 18 against 14 to 34 us at 8 to 32 steps; from 128 on the loop is as fast, or faster."""


def recurrent_layers(model: Any) -> list[Any]:
    """The layers of `model`, at any depth, that run a cell over steps."""
    _, keras = quiet_tensorflow.load()
    return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.RNN)]


def unrolled_layers(model: Any, unrolled: int) -> list[Any]:
    """Of the recurrent layers those that were built for at most `unrolled` steps."""
    return [
        layer
        for layer in recurrent_layers(model)
        if (steps := _built_steps(layer)) is not None and steps <= unrolled
    ]


def worth_building(model: Any, optimize: Optimize) -> tuple[int, ...]:
    """Up to how many steps to unroll: for the size, of each the file is to be compared."""
    if optimize == "latency":
        return (FAST,)
    return _distinct(model, 1, SHORT)  # one step is no loop


def worth_measuring(model: Any) -> tuple[int, ...]:
    """Up to how many steps to unroll: of each the latency is to be compared."""
    return _distinct(model, FAST, 1, 4 * FAST)


@contextlib.contextmanager
def in_inference(model: Any) -> Iterator[None]:
    """Within, no cell of `model` draws dropout masks, and all use TensorFlow's plain operators.

    Keras draws the masks in inference, too, and does not apply them.
    """
    with contextlib.ExitStack() as changes:
        for layer in recurrent_layers(model):
            if hasattr(layer, "use_cudnn"):
                changes.enter_context(changed(layer, "use_cudnn", False))
            for cell in _cells(layer.cell):
                for rate in ("dropout", "recurrent_dropout"):
                    if getattr(cell, rate, 0):
                        changes.enter_context(changed(cell, rate, 0.0))
                if hasattr(cell, "implementation"):
                    changes.enter_context(changed(cell, "implementation", 2))
        yield


@contextlib.contextmanager
def known_to_onnx(model: Any) -> Iterator[None]:
    """Within, LSTM and GRU are traced in the operators by which tf2onnx knows them.

    It makes the operators LSTM and GRU of them, where there is no mask; any other becomes a loop,
    which takes a hundred times as long in ONNX Runtime.
    """
    _, keras = quiet_tensorflow.load()
    with in_inference(model), contextlib.ExitStack() as changes:
        for layer in recurrent_layers(model):
            stock = type(layer).inner_loop.__module__.startswith("keras.")
            if stock and type(layer.cell) is keras.layers.GRUCell and layer.cell.reset_after:
                loop = functools.partial(_gru_loop, layer)
                changes.enter_context(_replaced(layer, "inner_loop", loop))
        yield


@contextlib.contextmanager
def looping(model: Any, unrolled: int) -> Iterator[None]:
    """Within, the recurrent layers of `model` are traced as this module says.

    `unrolled_layers` are unrolled, the others are loops. A class with an `inner_loop` of its own
    unrolls by its own means.
    """
    short = unrolled_layers(model, unrolled)
    with in_inference(model), contextlib.ExitStack() as changes:
        for layer in recurrent_layers(model):
            if type(layer).inner_loop.__module__.startswith("keras."):
                loop = functools.partial(inner_loop, layer, layer in short)
                changes.enter_context(_replaced(layer, "inner_loop", loop))
            else:
                changes.enter_context(changed(layer, "unroll", True))
        yield


@contextlib.contextmanager
def _replaced(owner: Any, method: str, replacement: Callable[..., Any]) -> Iterator[None]:
    object.__setattr__(owner, method, replacement)
    try:
        yield
    finally:
        object.__delattr__(owner, method)


def _gru_loop(
    layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False
) -> tuple[Any, Any, Any]:
    """Keras's own loop over a GRU with `reset_after`, its step in operators that tf2onnx knows."""
    tensorflow, keras = quiet_tensorflow.load()
    cell, add = layer.cell, tensorflow.nn.bias_add
    both = keras.ops.convert_to_tensor(cell.bias) if cell.use_bias else None
    if both is None:
        both = tensorflow.zeros([2, 3 * cell.units], sequences.dtype)
    bias, recurrent_bias = tensorflow.unstack(both)  # outside of the loop

    def call(inputs: Any, states: Any, training: bool = False) -> tuple[Any, Any]:
        (hidden,) = keras.tree.flatten(states)
        given = add(keras.ops.matmul(inputs, cell.kernel), bias)
        own = add(keras.ops.matmul(hidden, cell.recurrent_kernel), recurrent_bias)
        update, reset, new = tensorflow.split(given, 3, axis=1)
        own_update, own_reset, own_new = tensorflow.split(own, 3, axis=1)
        update = cell.recurrent_activation(update + own_update)
        reset = cell.recurrent_activation(reset + own_reset)
        hidden = update * hidden + (1 - update) * cell.activation(new + reset * own_new)
        return hidden, [hidden] if keras.tree.is_nested(states) else hidden

    with _replaced(cell, "call", call):
        found: tuple[Any, Any, Any] = type(layer).inner_loop(
            layer, sequences, initial_state, mask, training
        )
        return found


def _distinct(model: Any, *choices: int) -> tuple[int, ...]:
    """Those of `choices` that unroll other layers than the ones before."""
    found = {len(unrolled_layers(model, unrolled)): unrolled for unrolled in reversed(choices)}
    return tuple(choice for choice in choices if choice in found.values())


def _built_steps(layer: Any) -> int | None:
    """The number of steps, None where it is open."""
    config = layer.get_build_config() or {}
    shapes = config.get("shapes_dict", {})
    shape = config.get("input_shape") or shapes.get("sequences_shape") or (None, None)
    return shape[1]


def _cells(cell: Any) -> Iterator[Any]:
    for inner in getattr(cell, "cells", ()):
        yield from _cells(inner)
    yield cell
