"""Recurrent layers in files: what Keras computes, as a loop or unrolled, small and sparse."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import numpy as np
import pytest

from compressor.exporters import recurrence
from compressor.exporters.request import Request
from compressor.exporters.tflite import convert, export, graph, tracing
from compressor.foundation import quiet_tensorflow
from deploy import quiet_onnxruntime


def built(keras: Any, *parts: Any, shape: Any = (6, 3)) -> Any:
    keras.utils.set_random_seed(11)
    words = len(shape) == 1
    first = [keras.Input(shape, dtype="int32" if words else "float32")]
    if words:
        first.append(keras.layers.Embedding(20, 3, mask_zero=True))
    return moved(keras.Sequential([*first, *parts, keras.layers.Dense(4)]))


def moved(model: Any) -> Any:
    generator = np.random.default_rng(7)
    for variable in model.weights:
        if "float" in str(variable.dtype):
            value = variable.numpy()
            variable.assign(value + 0.2 * generator.standard_normal(value.shape))
    return model


def given(model: Any, count: int, steps: int = 9) -> list[np.ndarray]:
    generator = np.random.default_rng(count)
    found = []
    for tensor in model.inputs:
        shape = (count, *(steps if size is None else size for size in tensor.shape[1:]))
        whole = "int" in str(tensor.dtype)
        # Words of 0 are masked, also where a sequence begins.
        array = generator.integers(0, 3, shape) if whole else generator.standard_normal(shape)
        found.append(array.astype(tensor.dtype))
    return found


def branches(keras: Any) -> Any:
    """States given and returned, both directions, zeros and repetitions where a mask skips."""
    layers = keras.layers
    x, state = keras.Input((6, 3), name="x"), keras.Input((5,), name="state")
    masked = layers.Masking()(layers.ReLU()(x))
    ends = [
        *layers.LSTM(5, return_state=True, dropout=0.3)(x, initial_state=[state, state]),
        layers.GRU(5, recurrent_dropout=0.2)(masked, initial_state=state),
        layers.SimpleRNN(5, go_backwards=True)(masked, initial_state=state),
        layers.Bidirectional(layers.GRU(2, reset_after=False), merge_mode="mul")(masked),
    ]
    sequences = [
        layers.LSTM(4, return_sequences=True, zero_output_for_mask=True)(masked),
        layers.GRU(4, return_sequences=True, go_backwards=True)(masked),
        layers.Bidirectional(layers.LSTM(2, return_sequences=True))(masked),
        layers.TimeDistributed(layers.Dense(4))(layers.SimpleRNN(3, return_sequences=True)(x)),
    ]
    flat = [keras.ops.reshape(one, (-1, 6 * one.shape[-1])) for one in sequences]
    return moved(keras.Model([x, state], layers.Concatenate()([*ends, *flat])))


def cells(keras: Any) -> Any:
    layers = keras.layers
    stacked = [
        layers.LSTMCell(5, dropout=0.2),
        layers.StackedRNNCells([layers.GRUCell(4), layers.SimpleRNNCell(3, recurrent_dropout=0.1)]),
    ]
    return built(keras, layers.RNN(stacked, return_sequences=True), layers.RNN(layers.GRUCell(3)))


MODELS = {
    "branches": branches,
    "cells": cells,
    "both dropouts": lambda k: built(
        k,
        k.layers.LSTM(5, dropout=0.2, recurrent_dropout=0.3, return_sequences=True),
        k.layers.GRU(4, dropout=0.2, recurrent_dropout=0.3),
    ),
    "words": lambda k: built(
        k, k.layers.Bidirectional(k.layers.LSTM(4, recurrent_dropout=0.3)), shape=(6,)
    ),
    "images": lambda k: built(
        k,
        k.layers.ConvLSTM2D(2, 3, dropout=0.2, recurrent_dropout=0.2, return_sequences=True),
        k.layers.TimeDistributed(k.layers.Conv2D(2, 1)),
        k.layers.ConvLSTM2D(2, 2),
        shape=(3, 6, 6, 2),
    ),
    "nested": lambda k: built(
        k, k.layers.TimeDistributed(k.layers.LSTM(3)), k.layers.GRU(2), shape=(3, 4, 2)
    ),
    "open": lambda k: built(
        k, k.layers.LSTM(4, return_sequences=True), k.layers.GRU(3), shape=(None, 3)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("unrolled", [1, 9], ids=["loop", "unrolled"])
@pytest.mark.parametrize(
    "name",
    [
        name if name in ("words", "images") else pytest.param(name, marks=pytest.mark.slow)
        for name in MODELS
    ],
)
def test_a_traced_layer_computes_what_it_does_in_keras(keras, name, unrolled) -> None:
    model = MODELS[name](keras)
    function = tracing.concrete_function(model, unrolled)

    for count, steps in ((1, 9), (3, 5)):
        arrays = given(model, count, steps)
        (found,) = function(*map(keras.ops.convert_to_tensor, arrays))
        wanted = model(arrays if len(arrays) > 1 else arrays[0], training=False)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["words", "images", "open"])
def test_the_loop_computes_the_same_in_litert_at_any_batch_size(keras, name) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = MODELS[name](keras)
    found = convert.convert(model, unrolled=1)
    assert "WHILE" in [graph.operator_name(found, item) for item in graph.main(found).operators]
    interpreter = Interpreter(model_content=graph.write_graph(found), num_threads=1)
    for count, steps in ((1, 9), (3, 5)):
        arrays = given(model, count, steps)
        details = interpreter.get_input_details()
        for detail, array in zip(details, arrays, strict=True):
            interpreter.resize_tensor_input(detail["index"], array.shape)
        interpreter.allocate_tensors()
        for detail, array in zip(details, arrays, strict=True):
            interpreter.set_tensor(detail["index"], array)
        interpreter.invoke()
        scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        wanted = model(arrays if len(arrays) > 1 else arrays[0], training=False)
        np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("kind", "given_mask"), [("LSTM", False), ("GRU", False), ("GRU", True)])
def test_onnx_has_operators_for_lstm_and_gru_also_with_dropout(keras, kind, given_mask) -> None:
    """A loop takes a hundred times as long in ONNX Runtime; only a mask needs it."""
    from compressor.exporters.onnx.convert import convert as to_onnx

    layer = getattr(keras.layers, kind)(4, dropout=0.2, recurrent_dropout=0.3)
    mask = [keras.layers.Masking()] if given_mask else []
    model = built(keras, *mask, layer)
    converted = to_onnx(model)

    kinds = {node.op_type for node in converted.graph.node}
    assert (kind in kinds, "Loop" in kinds) == (not given_mask, given_mask)
    session = quiet_onnxruntime.load().InferenceSession(converted.SerializeToString())
    for count in (1, 3):
        (array,) = given(model, count)
        (found,) = session.run(None, {session.get_inputs()[0].name: array})
        np.testing.assert_allclose(found, model(array, training=False), rtol=1e-4, atol=1e-6)


def test_a_model_is_itself_again_after_it_was_traced(keras) -> None:
    model = MODELS["both dropouts"](keras)
    before = [(layer.unroll, layer.use_cudnn, layer.dropout) for layer in model.layers[:2]]

    tracing.concrete_function(model, 1)

    after = [(layer.unroll, layer.use_cudnn, layer.dropout) for layer in model.layers[:2]]
    assert after == before and after[0][2] == 0.2
    assert not any("inner_loop" in vars(layer) for layer in model.layers)
    assert model.layers[0].cell.recurrent_dropout == 0.3


@pytest.mark.slow
def test_300_steps_are_smaller_than_by_the_stock_converter_and_sparse(keras) -> None:
    tf, _ = quiet_tensorflow.load()
    freezing = importlib.import_module("tensorflow.python.framework.convert_to_constants")
    model = built(keras, keras.layers.LSTM(64, name="lstm"), shape=(300, 16))
    function = tf.function(
        lambda x: model(x, training=False),
        input_signature=[tf.TensorSpec((1, 300, 16))],
        autograph=False,
    )
    frozen = freezing.convert_variables_to_constants_v2(function.get_concrete_function())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stock = len(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
    file = export(model, Request("litert"))
    assert len(file.content) < stock < 1.2 * len(file.content)
    assert "WHILE" in file.needs and any("loop" in note for note in file.notes)

    lstm = model.get_layer("lstm")
    for variable in (lstm.cell.kernel, lstm.cell.recurrent_kernel):
        values = variable.numpy()
        values[np.abs(values) < np.quantile(np.abs(values), 0.9)] = 0
        variable.assign(values)
    file = export(model, Request("litert"))

    assert len(file.content) < stock / 4
    kernels = {one.name: one for one in file.tensors if "kernel" in one.name}
    for name in ("kernel", "recurrent_kernel"):
        stored = kernels[f"lstm/{name}"]
        zeros = np.count_nonzero(getattr(lstm.cell, name).numpy() == 0)
        assert (stored.encoding, stored.zeros) == ("csr", zeros)


@pytest.mark.slow
def test_a_few_steps_are_unrolled_where_that_is_smaller_or_faster(keras) -> None:
    model = built(keras, keras.layers.SimpleRNN(3), shape=(2, 3))
    smallest = export(model, Request("litert"))
    loop = export(model, Request("litert", unrolled=1))
    assert "WHILE" not in smallest.needs and "WHILE" in loop.needs
    assert len(smallest.content) < len(loop.content)

    longer = built(keras, keras.layers.SimpleRNN(3), shape=(24, 3))
    assert recurrence.worth_building(longer, "size") == (1,)
    assert recurrence.worth_building(longer, "latency") == (recurrence.FAST,)
    assert recurrence.worth_measuring(longer) == (recurrence.FAST, 1)
    plain = built(keras)
    assert recurrence.worth_measuring(plain) == (recurrence.FAST,)
