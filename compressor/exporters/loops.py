"""What a recurrent layer computes in inference: a loop over the steps, or unrolled.

Keras collects the steps in lists of tensors, which TFLite has only where the batch size is fixed.
Here a step is read from one tensor, and written to one, so that any batch size, and any number of
steps, works. LSTM, GRU and SimpleRNN multiply the inputs of all steps with the kernel at once, in
front of the loop, which keeps the recurrent kernel. Any other cell is called in every step.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from compressor.foundation import quiet_tensorflow

Step = Callable[[Any, list[Any]], tuple[Any, list[Any]]]
"""(input of a step, flat states) -> (output, flat states)"""


def inner_loop(
    layer: Any,
    unroll: bool,
    sequences: Any,
    initial_state: Any,
    mask: Any,
    training: bool = False,  # as Keras calls it: this is inference
) -> tuple[Any, Any, Any]:
    """The last output (n, ...), all outputs (n, steps, ...), and the final states.

    Where the layer does not give all outputs, the last stands for them.
    """
    tensorflow, keras = quiet_tensorflow.load()
    if layer.go_backwards:
        sequences = tensorflow.reverse(sequences, [1])
        mask = None if mask is None else tensorflow.reverse(mask, [1])
    whole = None
    inputs, step = _hoisted(layer.cell, sequences, initial_state)
    states = keras.tree.flatten(initial_state)
    first, following = step(_at(inputs, 0), states)
    kept = mask is not None or first is not following[0]
    if kept:
        # The output becomes a state: a masked step gives that before it again, at first zeros.
        states = [_zeros(sequences, first), *states]
        step = _keeping(step, layer.zero_output_for_mask)
        inputs = (inputs,) if mask is None else (inputs, tensorflow.cast(mask, "bool"))
    if layer.return_sequences:
        whole = _zeros(sequences, first, _steps(sequences))
    run = _unrolled if unroll and sequences.shape[1] is not None else _loop
    states, outputs = run(inputs, step, states, whole)
    last = states[0]
    states = keras.tree.pack_sequence_as(initial_state, states[kept:])
    return last, last if outputs is None else outputs, states


def _unrolled(inputs: Any, step: Step, states: list[Any], whole: Any) -> tuple[list[Any], Any]:
    tensorflow, keras = quiet_tensorflow.load()
    parts = [tensorflow.unstack(tensor, axis=1) for tensor in keras.tree.flatten(inputs)]
    outputs = []
    for given in zip(*parts, strict=True):
        output, states = step(keras.tree.pack_sequence_as(inputs, list(given)), states)
        outputs.append(output)
    return states, None if whole is None else tensorflow.stack(outputs, axis=1)


def _loop(inputs: Any, step: Step, states: list[Any], whole: Any) -> tuple[list[Any], Any]:
    tensorflow, keras = quiet_tensorflow.load()
    slices = importlib.import_module("tensorflow.compiler.tf2xla.ops.gen_xla_ops")
    steps = _steps(keras.tree.flatten(inputs)[0])
    carried = [*states] if whole is None else [*states, whole]
    shapes = [tensorflow.TensorShape([None, *tensor.shape[1:]]) for tensor in carried]

    def advance(time: Any, *before: Any) -> list[Any]:
        output, after = step(_at(inputs, time), list(before[: len(states)]))
        if whole is not None:
            place = tensorflow.stack([0, time, *[0] * (len(whole.shape) - 2)])
            part = tensorflow.expand_dims(output, 1)
            after = [*after, slices.xla_dynamic_update_slice(before[-1], part, place)]
        for tensor, shape in zip(after, shapes, strict=True):
            tensor.set_shape(shape)
        return [time + 1, *after]

    _, *found = tensorflow.while_loop(
        lambda time, *_: time < steps,
        advance,
        [tensorflow.constant(0), *carried],
        shape_invariants=[tensorflow.TensorShape([]), *shapes],
    )
    return found[: len(states)], None if whole is None else found[-1]


def _steps(sequences: Any) -> Any:
    tensorflow, _ = quiet_tensorflow.load()
    steps = sequences.shape[1]
    return tensorflow.shape(sequences)[1] if steps is None else steps


def _at(inputs: Any, time: Any) -> Any:
    """The inputs of one step: tensors (n, ...) of ones (n, steps, ...)."""
    tensorflow, keras = quiet_tensorflow.load()
    return keras.tree.map_structure(lambda one: tensorflow.gather(one, time, axis=1), inputs)


def _zeros(source: Any, like: Any, *sizes: Any) -> Any:
    """Zeros (n, *sizes, ...) for as many examples as `source` has, each of the shape of `like`."""
    tensorflow, _ = quiet_tensorflow.load()
    return tensorflow.zeros([tensorflow.shape(source)[0], *sizes, *like.shape[1:]], like.dtype)


def _keeping(step: Step, zero_output: bool) -> Step:
    """A step of which the first state is the output before, and which a mask may skip."""
    tensorflow, _ = quiet_tensorflow.load()

    def keeping(given: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        given, *mask = given
        before, *states = states
        output, following = step(given, states)
        if mask:

            def where(new: Any, old: Any) -> Any:
                shaped = tensorflow.reshape(mask[0], [-1, *[1] * (len(new.shape) - 1)])
                return tensorflow.where(shaped, new, old)

            output = where(output, tensorflow.zeros_like(output) if zero_output else before)
            following = [*map(where, following, states)]
        return output, [output, *following]

    return keeping


def _hoisted(cell: Any, sequences: Any, initial_state: Any) -> tuple[Any, Step]:
    """What a step takes, for all steps (n, steps, ...), and the step.

    Equations: the classes of the cells in Keras 3.
    """
    _, keras = quiet_tensorflow.load()
    ops, layers = keras.ops, keras.layers
    kind = type(cell)
    if kind not in (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell):
        return sequences, functools.partial(_call, cell, initial_state)
    bias, recurrent_bias = cell.bias if cell.use_bias else None, None
    if bias is not None and getattr(cell, "reset_after", False):
        bias, recurrent_bias = ops.unstack(bias)
    projected = ops.matmul(sequences, cell.kernel)
    if bias is not None:
        projected = ops.add(projected, bias)

    def lstm(given: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        hidden, carry = states
        gates = ops.add(given, ops.matmul(hidden, cell.recurrent_kernel))
        at_input, forget, new, at_output = ops.split(gates, 4, axis=-1)
        sigmoid, activation = cell.recurrent_activation, cell.activation
        carry = sigmoid(forget) * carry + sigmoid(at_input) * activation(new)
        hidden = sigmoid(at_output) * activation(carry)
        return hidden, [hidden, carry]

    def gru(given: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        (hidden,) = states
        update, reset, new = ops.split(given, 3, axis=-1)
        kernel = ops.convert_to_tensor(cell.recurrent_kernel)
        gates = kernel if cell.reset_after else kernel[:, : 2 * cell.units]
        inner = ops.matmul(hidden, gates)
        if recurrent_bias is not None:
            inner = ops.add(inner, recurrent_bias)
        own_update, own_reset, *own = ops.split(inner, 3 if cell.reset_after else 2, axis=-1)
        update = cell.recurrent_activation(update + own_update)
        reset = cell.recurrent_activation(reset + own_reset)
        if own:
            new += reset * own[0]
        else:
            new += ops.matmul(reset * hidden, kernel[:, 2 * cell.units :])
        hidden = update * hidden + (1 - update) * cell.activation(new)
        return hidden, [hidden]

    def simple(given: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        hidden = cell.activation(ops.add(given, ops.matmul(states[0], cell.recurrent_kernel)))
        return hidden, [hidden]

    steps = {layers.LSTMCell: lstm, layers.GRUCell: gru, layers.SimpleRNNCell: simple}
    return projected, steps[kind]


def _call(cell: Any, nested: Any, given: Any, states: list[Any]) -> tuple[Any, list[Any]]:
    """A step of any cell, whose states have the structure of `nested`."""
    _, keras = quiet_tensorflow.load()
    known = {"training": False} if getattr(cell, "_call_has_training_arg", False) else {}
    output, following = cell(given, keras.tree.pack_sequence_as(nested, states), **known)
    return output, keras.tree.flatten(following)
