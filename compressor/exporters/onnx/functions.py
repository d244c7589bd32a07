"""Chains of one form as calls of one function of the model, which holds their nodes once.

ONNX Runtime puts the nodes in the places of the calls before it folds constants. A call has the
name of the last node of its chain, so that a reader knows which weight it decodes.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import string
from collections.abc import Iterable
from typing import Any

from onnx import FunctionProto, NodeProto, helper

from compressor.exporters.onnx.apart import byte_size, framed
from compressor.exporters.onnx.chain import MARK, Chain, short_name
from compressor.exporters.onnx.tensor_reading import damaged_onnx

_MOST_NODES, _MOST_BYTES = 2**15, 2**24
"""of all calls that a reader puts in their places"""
_IMPORT = 10
"""Bytes of the entry of a domain of functions."""


@dataclasses.dataclass(frozen=True)
class Form:
    """What the nodes of a chain do, whatever their values are called."""

    constants: tuple[str, ...]
    """that they take, as the chain calls them"""
    body: tuple[bytes, ...]
    """the nodes as a function has them, serialized; the same for chains of one form"""
    names: tuple[str, ...]
    """of the constants, then of the nodes' outputs, in the function"""


def form_of(chain: Chain) -> Form:
    """Requires: every node has one output."""
    made = {node.output[0] for node in chain.nodes}
    constants = dict.fromkeys(n for node in chain.nodes for n in node.input if n not in made)
    outputs = [node.output[0] for node in chain.nodes]
    short = itertools.chain(string.ascii_letters, map(short_name, itertools.count()))
    names = dict(zip((*constants, *outputs), short, strict=False))
    body = []
    for node in chain.nodes:
        plain = _copied(node, names)
        plain.ClearField("name")
        body.append(plain.SerializeToString(deterministic=True))
    return Form(tuple(constants), tuple(body), tuple(names.values()))


class Selection:
    """Chains of one file, each the smallest beside those before it.

    With `calls` a uniform chain is taken for the call of a function, which costs nothing.
    """

    def __init__(self, *, calls: bool) -> None:
        self.chains: list[Chain] = []
        self._calls = calls
        self._present: set[str] = set()

    def cost(self, chain: Chain) -> int:
        """Bytes that it adds."""
        size = chain.bytes_beside(self._present)
        if not (self._calls and chain.uniform):
            return size
        call = _call(chain, form_of(chain), "c", "F")
        return size - sum(framed(node.ByteSize()) for node in chain.nodes) + framed(call.ByteSize())

    def add(self, chain: Chain) -> None:
        self.chains.append(chain)
        self._present |= chain.shared.keys()


def total_bytes(chains: Iterable[Chain], functions: Iterable[Any]) -> int:
    """Bytes of the chains in one file, with the functions that they call."""
    shared: dict[str, Any] = {}
    size = sum(framed(function.ByteSize()) + _IMPORT for function in functions)
    for chain in chains:
        size += sum(framed(byte_size(part)) for part in (*chain.nodes, *chain.initializers))
        shared |= chain.shared
    return size + sum(framed(part.ByteSize()) for part in shared.values())


def call_functions(chains: Iterable[Chain], domain: str, version: int) -> list[Any]:
    """Make calls of chains of one form where that is smaller; returns the functions, for a model
    of this version of the standard operators."""
    groups: dict[tuple[bytes, ...], list[tuple[Chain, Form]]] = collections.defaultdict(list)
    for chain in chains:
        if chain.nodes:
            form = form_of(chain)
            groups[form.body].append((chain, form))
    functions: list[Any] = []
    for group in groups.values():
        name = f"F{len(functions) or ''}"
        calls = [_call(chain, form, domain, name) for chain, form in group]
        function = _function(group[0][1], domain, name, version)
        before = sum(framed(node.ByteSize()) for chain, _ in group for node in chain.nodes)
        after = sum(framed(call.ByteSize()) for call in calls) + framed(function.ByteSize())
        if after + _IMPORT < before:
            functions.append(function)
            for (chain, _), call in zip(group, calls, strict=True):
                chain.nodes[:] = [call]
    return functions


def put_in_place(model: Any) -> None:
    """Calls that are marked as decoding a weight -> the nodes of their functions.

    The file may be hostile. Functions in functions stay calls. Raises CheckpointError where the
    nodes would be too many or too large.
    """
    functions = {(one.domain, one.name): one for one in model.functions}
    sizes = {key: one.ByteSize() for key, one in functions.items()}
    left, room, used, nodes = _MOST_NODES, _MOST_BYTES, set(), []
    for node in model.graph.node:
        key = (node.domain, node.op_type)
        function = functions.get(key)
        fits = function is not None and _takes(function, node)
        if function is None or not fits or not node.name.startswith(MARK):
            nodes.append(node)
            continue
        used.add(key)
        left, room = left - len(function.node), room - sizes[key]
        if min(left, room) < 0:
            limit = f"{_MOST_NODES:,} nodes or {_MOST_BYTES:,} bytes"
            raise damaged_onnx(f"its functions come to more than {limit}")
        nodes += _inside(function, node)
    if not used:
        return
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used -= {(node.domain, node.op_type) for node in nodes}
    kept = [one for one in model.functions if (one.domain, one.name) not in used]
    del model.functions[:]
    model.functions.extend(kept)


def _takes(function: FunctionProto, call: NodeProto) -> bool:
    """Whether the call has what the function takes, and nothing that its nodes may refer to."""
    counts = len(function.input) == len(call.input), len(function.output) == len(call.output) == 1
    return all(counts) and not call.attribute and not function.attribute_proto


def _inside(function: FunctionProto, call: NodeProto) -> list[NodeProto]:
    outer = dict(zip(function.input, call.input, strict=True))
    outer |= zip(function.output, call.output, strict=True)
    inner = {n for node in function.node for n in (*node.input, *node.output) if n}
    names = {name: f"{call.output[0]}/{name}" for name in inner} | outer
    found = []
    for node in function.node:
        found.append(_copied(node, names))
        if set(call.output) & set(found[-1].output):
            found[-1].name = call.name
    return found


def _function(form: Form, domain: str, name: str, version: int) -> FunctionProto:
    nodes = [NodeProto.FromString(node) for node in form.body]
    count = len(form.constants)
    function = helper.make_function(
        domain, name, form.names[:count], form.names[-1:], nodes, [helper.make_opsetid("", version)]
    )
    function.opset_import[0].ClearField("domain")
    return function


def _call(chain: Chain, form: Form, domain: str, name: str) -> NodeProto:
    last = chain.nodes[-1]
    return helper.make_node(name, form.constants, [last.output[0]], last.name, domain=domain)


def _copied(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """A node with other names of its values."""
    copy = NodeProto()
    copy.CopyFrom(node)
    for field in (copy.input, copy.output):
        field[:] = [names.get(name, name) for name in field]
    return copy
