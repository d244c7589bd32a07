"""Passes over a TFLite graph that change its operators in place, not what it computes.

They run in the order in which they are defined here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compressor.exporters.tflite import graph as graphs

_SIDE_EFFECTS = {
    *("ASSIGN_VARIABLE", "CALL_ONCE", "CUSTOM", "HASHTABLE_IMPORT", "IF", "WHILE"),
    *("RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM"),
}
_RESHAPES = ("RESHAPE", "EXPAND_DIMS", "SQUEEZE")


def fix_reshapes(graph: Any) -> None:
    """Give reshapes constant shapes.

    Requires: correct shape signatures, as the converter's shape inference leaves them. Ensures:
    every RESHAPE, EXPAND_DIMS and SQUEEZE with at most one unknown output size is a RESHAPE to a
    constant shape, with -1 for that size. Keras computes the shape from the batch size at run
    time; XNNPACK does not take such a graph, which is then slow.
    """
    for number, subgraph in enumerate(graph.subgraphs):
        users = graphs.users(graph, number)
        for operator in subgraph.operators or []:
            if graphs.operator_name(graph, operator) not in _RESHAPES:
                continue
            output = graphs.indices(operator.outputs)[0]
            tensor = subgraph.tensors[output]
            sizes = graphs.signature(tensor)
            if tensor.shape is None or not (len(sizes) or tensor.hasRank):
                continue  # even the number of sizes is open
            for user, position in users.get(output, []):
                _learn_from(graph, number, user, position, sizes)
            # Of two open sizes a reshape could not tell which is which.
            if np.count_nonzero(sizes < 0) < 2 and (sizes != 0).all():
                _fix_reshape(graph, number, operator, sizes)


def _learn_from(graph: Any, number: int, user: Any, position: int, sizes: np.ndarray) -> None:
    """Fill in the last of `sizes` of the input of a FULLY_CONNECTED: the columns of its weights."""
    if position == 0 and len(sizes) and graphs.operator_name(graph, user) == "FULLY_CONNECTED":
        weights = graph.subgraphs[number].tensors[graphs.indices(user.inputs)[1]]
        if weights.shapeSignature is None and len(weights.shape) == 2:
            sizes[-1] = weights.shape[1]


def _fix_reshape(graph: Any, number: int, operator: Any, sizes: np.ndarray) -> None:
    inputs = graphs.indices(operator.inputs)
    if (
        graphs.operator_name(graph, operator) == "RESHAPE"
        and len(inputs) > 1
        and graphs.constant(graph, inputs[1], number) is not None
    ):
        return
    tensor = graph.subgraphs[number].tensors[graphs.indices(operator.outputs)[0]]
    if (sizes < 0).any():
        tensor.shapeSignature = sizes
        tensor.shape = np.where(sizes < 0, 1, sizes).astype(np.int32)
    shape = graphs.add_tensor(graph, None, sizes.shape, np.int32, values=sizes, subgraph=number)
    schema = graphs.schema()
    operator.opcodeIndex = graphs.operator_code(graph, "RESHAPE")
    operator.inputs = np.asarray([inputs[0], shape], np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT(newShape=sizes)


def skip_reshapes(graph: Any) -> None:
    """Let operators read what is in front of a RESHAPE that makes no difference to them.

    Requires constant shapes, as `fix_reshapes` gives them. These are another RESHAPE, and
    FULLY_CONNECTED, which takes all values of its input as vectors of as many as its weights have
    columns, and gives as many rows as there are vectors: all but the kernels of sparse weights,
    which take the last dimension for a vector. `drop_dead_operators` removes the RESHAPE then,
    unless others read it.
    """
    for number, subgraph in enumerate(graph.subgraphs):
        made: dict[int, int] = {}
        for operator in subgraph.operators or []:
            name, inputs = graphs.operator_name(graph, operator), graphs.indices(operator.inputs)
            keeps = getattr(operator.builtinOptions, "keepNumDims", True)
            vectors = (
                name == "FULLY_CONNECTED"
                and not keeps
                and subgraph.tensors[inputs[1]].sparsity is None
            )
            while (
                inputs
                and inputs[0] in made
                and (vectors or (name == "RESHAPE" and _has_shape(graph, inputs, number)))
            ):
                inputs[0] = made[inputs[0]]
                graphs.replace_input(operator, 0, inputs[0])
            if name == "RESHAPE":
                made[graphs.indices(operator.outputs)[0]] = inputs[0]


def _has_shape(graph: Any, inputs: list[int], number: int) -> bool:
    return len(inputs) > 1 and graphs.constant(graph, inputs[1], number) is not None


def drop_dead_operators(graph: Any) -> None:
    """Ensures: every operator leads to an output of its subgraph, or has a side effect."""
    for subgraph in graph.subgraphs:
        needed = set(graphs.indices(subgraph.outputs))
        kept = []
        for operator in reversed(subgraph.operators or []):
            outputs = graphs.indices(operator.outputs)
            effect = graphs.operator_name(graph, operator) in _SIDE_EFFECTS
            if effect or needed.intersection(outputs):
                needed.update(graphs.indices(operator.inputs))
                kept.append(operator)
        subgraph.operators = kept[::-1]


def shorten_names(graph: Any, names: Sequence[Mapping[int, str]]) -> None:
    """Name the weights as the model does, and remove all names but those of inputs and outputs.

    `names` maps the tensors of each subgraph to names. Only the main one has public inputs. The
    converter's names list every operator that was fused, and can be a third of a small file.
    """
    main = graphs.main(graph)
    public = {*graphs.indices(main.inputs), *graphs.indices(main.outputs)}
    for subgraph, known in zip(graph.subgraphs, names, strict=True):
        subgraph.name = None
        for index, tensor in enumerate(subgraph.tensors):
            if index in known:
                tensor.name = known[index]
            elif subgraph is not main or index not in public:
                tensor.name = None
