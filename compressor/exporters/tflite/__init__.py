"""TFLite files from Keras models: small, sparse where it pays, and correct in their runtime.

The steps:

1. `tracing`: the model as a function, in float32, with an open batch axis.
2. `convert`: TensorFlow's converter makes a graph of built-in operators; in int8, `scales` gives
   weights one scale where that costs little, and `hard_swish` is computed by what XNNPACK takes.
3. `passes`: constant reshapes, so that XNNPACK takes the graph; no dead operators.
4. `names`: which constant is which variable of the model.
5. `weights`: every weight is quantised and stored in the encoding that the runtime runs.
6. `operators`: whether the runtime has every operator in its version.
7. `graph`: the file is written, with dense weights if that makes it smaller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from compressor.errors import UsageError
from compressor.exporters import tracing
from compressor.exporters.request import MICRO, EncodedTensor, ExportedFile, Request
from compressor.exporters.tflite.file_contents import Decoded
from compressor.models import input_names


def export(model: Any, request: Request) -> ExportedFile:
    """Export a built Keras model as a TFLite file in memory; `model` is not changed.

    Inputs of any float type become float32, integers stay; the output `scores` is float32
    (n, classes). No file is larger than that of the same quantisation with dense weights. Raises
    UsageError for a quantisation or an encoding that TFLite does not have, and ModelError for a
    model that it, or the runtime, cannot execute.
    """
    from compressor.exporters.recurrence import worth_building

    _check(request)
    given = request.unrolled
    variants = worth_building(model, request.optimize) if given is None else (given,)
    files = [_exported(model, request, unrolled) for unrolled in variants]
    return min(files, key=lambda file: len(file.content))


def export_graph(content: bytes, request: Request, inputs: tuple[str, ...]) -> ExportedFile:
    """The TFLite file of one of any origin, in memory, as `export` makes it of a Keras model.

    Its inputs, with these names, and its outputs stay as they are; a file that computes in integers
    goes on to do so. Raises as `foreign.standard_form` and `foreign.quantize_int8` do, too.
    """
    from compressor.exporters.tflite import channels, foreign, graph, passes
    from compressor.exporters.tflite.variable_reading import decoded_variables

    _check(request)
    plain = channels.without_unread(foreign.standard_form(content))
    if request.quantize == "int8":
        plain = foreign.quantize_int8(plain, inputs, request.calibration, request.runtime)
        _settle(plain, request)
    passes.fix_reshapes(plain)
    passes.drop_dead_operators(plain)
    decoded = decoded_variables(content)
    names = foreign.weight_names(plain)
    names[0] |= {one.tensor: graph.name_of(plain, one.tensor) for one in decoded[1]}
    return _finished(plain, names, request, inputs, (), decoded)


def _check(request: Request) -> None:
    from compressor.exporters.tflite import micro, weights

    if request.runtime == MICRO:
        micro.check(request)
        return
    if request.quantize in ("codebook", "ternary"):
        what = "codebook" if request.quantize == "codebook" else "ternary weights"
        raise UsageError(f"TFLite has no {what}", hint="choose --quantize int4")
    if request.encoding is not None and request.encoding not in weights.ENCODINGS:
        raise UsageError(
            "TFLite has no such encoding",
            value=request.encoding,
            hint=f"choose one of {', '.join(weights.ENCODINGS)}",
        )


def _exported(model: Any, request: Request, unrolled: int) -> ExportedFile:
    """The file in which recurrent layers of at most `unrolled` steps are unrolled."""
    from compressor.exporters.recurrence import unrolled_layers

    short = tuple(layer.name for layer in unrolled_layers(model, unrolled))
    integer = (request.runtime, request.value_bits) if request.quantize == "int8" else None
    plain, found = request.conversions.of(
        model, ("tflite", integer, short), lambda: _converted(model, request, unrolled, short)
    )
    return _finished(plain, found, request, input_names(model), tracing.notes(model, unrolled))


def _converted(
    model: Any, request: Request, unrolled: int, short: tuple[str, ...]
) -> tuple[Any, Sequence[Mapping[int, str]]]:
    """The ModelT, quantised but not encoded, and the names of its weights in each subgraph."""
    from compressor.exporters.tflite import convert, graph, names, passes

    def in_integers() -> Any:
        return convert.convert_int8(model, request.calibration, request.runtime, unrolled=unrolled)

    if request.quantize == "int8":
        made = request.conversions.of(model, ("int8", request.runtime, short), in_integers)
        plain = graph.copied(made)
        _settle(plain, request)
    else:
        plain = convert.convert(model, unrolled=unrolled)
    passes.fix_reshapes(plain)
    passes.drop_dead_operators(plain)
    return plain, names.weight_names(plain, model)


def _settle(plain: Any, request: Request) -> None:
    """Choose the scales of an int8 graph, and operators that its runtime is fast with."""
    from compressor.exporters.tflite import fewer_bits, hard_swish, scales

    if request.value_bits < 8:
        fewer_bits.round_weights(plain, request.value_bits)
    else:
        scales.share_scales(plain, request.calibration)
    hard_swish.split_hard_swish(plain, request.runtime)


def _finished(
    plain: Any,
    found: Sequence[Mapping[int, str]],
    request: Request,
    inputs: tuple[str, ...],
    given: Sequence[str],
    decoded: tuple[int, Sequence[Decoded]] = (0, ()),
) -> ExportedFile:
    """The file of a ModelT, whose weights have the names that were `found` in each subgraph.

    What is `decoded` already, by the subgraph of that number, stays as it is.
    """
    from compressor.exporters.tflite import graph, micro, operators, passes, weights
    from compressor.exporters.tflite.price import Price

    if request.runtime == MICRO:
        return micro.finished(plain, found[0], request, inputs, given)

    def write(request: Request) -> ExportedFile:
        encoded = graph.copied(plain)
        passes.shorten_names(encoded, found)
        tensors: list[EncodedTensor] = []
        notes = [*given]
        price = None if request.encoding else Price()
        tensors += [weights.decoded_weight(encoded, found[0], one) for one in decoded[1]]
        for number, view in enumerate(graph.views(encoded)):
            if number and number == decoded[0]:
                continue
            some, more = weights.encode_weights(
                view, found[number], request, looped=number > 0, whole=encoded, price=price
            )
            tensors += some
            notes += more
        passes.skip_reshapes(encoded)
        passes.drop_dead_operators(encoded)
        operators.check_runtime(encoded, request.runtime)
        content = graph.write_graph(encoded)
        return ExportedFile(
            content=content,
            inputs=inputs,
            tensors=tuple(sorted(tensors, key=lambda tensor: (-tensor.bytes, tensor.name))),
            needs=operators.needs(encoded),
            notes=tuple(notes),
            price="" if price is None else price.told(len(content), request.optimize),
        )

    chosen = write(request)
    if all(tensor.encoding == "dense" for tensor in chosen.tensors):
        return chosen
    dense = write(dataclasses.replace(request, encoding="dense"))
    if len(chosen.content) <= len(dense.content):
        return chosen
    note = "The weights are dense: no sparse encoding makes the file smaller."
    return dataclasses.replace(dense, notes=(*dense.notes, note))
