"""A model as a flat list of calls; nested models are expanded at every call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from compressor.errors import ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.layers import all_layers

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Call:
    """One call of a layer or of an operation such as `x + y`."""

    path: str
    """`outer/inner`, as `all_layers` names it"""
    layer: Any
    """the layer or operation; None where a tensor enters a nested model in another shape"""
    node: Any
    """Keras's record of the call, with its arguments"""
    scope: int
    """id of the model that the call is in"""
    training: bool
    """whether it is called with training=True"""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]

    @property
    def widths(self) -> tuple[int | None, ...]:
        """The sizes of the last axes of the inputs, then of the outputs."""
        return tuple(width_of(shape) for shape in (*self.input_shapes, *self.output_shapes))


@dataclass
class Trace:
    """The calls in an order of execution; tensors are numbered."""

    calls: list[Call] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    same: list[tuple[int, int]] = field(default_factory=list)
    """pairs: one tensor of a nested model at two calls of it"""
    entries: dict[int, int] = field(default_factory=dict)
    """id of an InputLayer of a nested model -> its tensor at the first call"""


def width_of(shape: Shape) -> int | None:
    """The number of channels of a tensor, None when it is not fixed: (None, 7, 3) -> 3."""
    return shape[-1] if len(shape) >= 2 else None


def graph_of(model: Any) -> Any:
    """The Functional graph of a Functional or Sequential model; None for any other layer.

    A user's class with a `call` of its own has none, since its graph would be incomplete.
    """
    _, keras = quiet_tensorflow.load()
    if isinstance(model, keras.Sequential):
        own_call = type(model).call is not keras.Sequential.call
        return None if own_call else getattr(model, "_functional", None)
    if isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth"):
        return model if type(model).call.__module__.startswith("keras.") else None
    return None


def trace(model: Any) -> Trace:
    """List the calls of a built Functional or Sequential model.

    Raises ModelError for a model that was never built, or has code of its own.
    """
    graph = graph_of(model)
    if graph is None:
        raise ModelError(
            "only built Functional and Sequential models can be shrunk",
            value=f"{model.name} ({type(model).__name__})",
            hint="give it an Input layer, or build it with keras.Model(inputs, outputs)",
        )
    tracer = _Tracer({id(layer): path for path, layer in all_layers(model).items()})
    tracer.trace.inputs = [tracer.tensor(tensor) for tensor in graph.inputs]
    tracer.trace.outputs = tracer.walk(model, "", tracer.trace.inputs, False)
    return tracer.trace


class _Tracer:
    def __init__(self, paths: dict[int, str]) -> None:
        self.trace = Trace()
        self._paths = paths
        self._first: dict[int, int] = {}

    def tensor(self, tensor: Any) -> int:
        """Number a new tensor."""
        self.trace.shapes.append(tuple(tensor.shape))
        return len(self.trace.shapes) - 1

    def walk(self, model: Any, prefix: str, given: list[int], training: bool) -> list[int]:
        graph = graph_of(model)
        known: dict[int, int] = {}
        for tensor, number in zip(graph.inputs, given, strict=True):
            self._know(known, tensor, number)
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                computable = all(id(tensor) in known for tensor in node.input_tensors)
                if not node.is_input and computable:
                    self._node(model, prefix, node, known, training)
        return [known[id(tensor)] for tensor in graph.outputs]

    def _know(self, known: dict[int, int], tensor: Any, number: int) -> None:
        known[id(tensor)] = number
        first = self._first.setdefault(id(tensor), number)
        if first != number:
            self.trace.same.append((first, number))

    def _node(
        self, model: Any, prefix: str, node: Any, known: dict[int, int], training: bool
    ) -> None:
        operation = node.operation
        asked = node.arguments.kwargs.get("training")
        training = training if asked is None else bool(asked)
        if graph_of(operation) is not None:
            given = self._enter(model, prefix, node, known, training)
            outputs = self.walk(operation, f"{prefix}{operation.name}/", given, training)
        else:
            outputs = [self.tensor(tensor) for tensor in node.outputs]
            inputs = [known[id(tensor)] for tensor in node.input_tensors]
            self._call(model, prefix, node, operation, training, inputs, outputs)
        for tensor, number in zip(node.outputs, outputs, strict=True):
            self._know(known, tensor, number)

    def _enter(
        self, model: Any, prefix: str, node: Any, known: dict[int, int], training: bool
    ) -> list[int]:
        """The tensors with which a nested model is called.

        One that Keras reshapes on the way in, or whose argument is unknown, passes through a call
        without a layer, which keeps all channels.
        """
        inner = graph_of(node.operation).inputs
        arguments = _arguments_of(node, inner)
        plain = len(arguments) == len(inner) == len(node.input_tensors)
        given: list[int] = []
        for position, tensor in enumerate(inner):
            outer = known.get(id(arguments[position])) if plain else None
            shape = tuple(tensor.shape)
            if outer is not None and _alike(self.trace.shapes[outer], shape):
                given.append(outer)
            else:
                given.append(self.tensor(tensor))
                inputs = [known[id(t)] for t in node.input_tensors]
                self._call(model, prefix, node, None, training, inputs, given[-1:])
            self.trace.entries.setdefault(id(tensor._keras_history.operation), given[-1])
        return given

    def _call(
        self,
        model: Any,
        prefix: str,
        node: Any,
        layer: Any,
        training: bool,
        inputs: list[int],
        outputs: list[int],
    ) -> None:
        shapes = self.trace.shapes
        self.trace.calls.append(
            Call(
                path=self._paths.get(id(node.operation), prefix + node.operation.name),
                layer=layer,
                node=node,
                scope=id(model),
                training=training,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                input_shapes=tuple(shapes[number] for number in inputs),
                output_shapes=tuple(shapes[number] for number in outputs),
            )
        )


def _arguments_of(node: Any, inner: list[Any]) -> list[Any]:
    _, keras = quiet_tensorflow.load()
    if not node.arguments.args:
        return []
    given = node.arguments.args[0]
    if isinstance(given, dict) and not isinstance(node.operation.input, dict):
        return [given.get(tensor.name) for tensor in inner]
    return list(keras.tree.flatten(given))


def _alike(outer: Shape, inner: Shape) -> bool:
    return len(outer) == len(inner) and width_of(outer) == width_of(inner)
