"""Folding BatchNormalization into the kernel before it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from compressor.models import Call, Trace, trace
from compressor.shrinking.activations import is_linear
from compressor.shrinking.followers import BatchNormalization, scale_and_shift
from compressor.shrinking.kernels import Depthwise, Linear
from compressor.shrinking.rebuilding import Edit, rebuild
from compressor.shrinking.rule import Rule, values_of
from compressor.shrinking.table import rule_of


def fold_batchnorm(model: Any) -> tuple[Any, tuple[str, ...]]:
    """Fold every BatchNormalization that can be; return a new model and the layers' paths.

    The layer before must be a Dense or a convolution without activation, of the same model, that
    nothing else uses; a BatchNormalization that is an output stays, to keep the output's name.
    Returns the model itself when nothing can be folded. Computed in float64.
    """
    traced = trace(model)
    edits: dict[int, Edit] = {}
    names = []
    for kernel, norm in _pairs(traced):
        last = norm.scope == id(model) and set(norm.outputs) & set(traced.outputs)
        if not last:
            edits[id(kernel.layer)] = _folded(kernel, norm)
            edits[id(norm.layer)] = Edit(removed=True)
            names.append(norm.path)
    return (rebuild(model, edits, {}) if edits else model), tuple(names)


def _pairs(traced: Trace) -> list[tuple[Call, Call]]:
    """A layer with a kernel, and the BatchNormalization that alone reads it and nothing else.

    This holds for all calls of the two; the first of each is given.
    """
    rules = {id(call): rule_of(call) for call in traced.calls if call.layer is not None}
    takers: dict[int, list[Call]] = defaultdict(list)
    calls: dict[int, list[Call]] = defaultdict(list)
    for call in traced.calls:
        calls[id(call.layer)].append(call)
        for number in call.inputs:
            takers[number].append(call)
    found = []
    for own in calls.values():
        if not all(_can_take(call, rules.get(id(call))) for call in own):
            continue
        after = [taker for call in own for taker in takers[call.outputs[0]]]
        fed = calls[id(after[0].layer)] if after else []
        if (
            after
            and {id(call) for call in after} == {id(call) for call in fed}
            and all(isinstance(rules.get(id(call)), BatchNormalization) for call in fed)
            and {call.scope for call in fed} == {call.scope for call in own}
            and not {call.outputs[0] for call in own} & set(traced.outputs)
        ):
            found.append((own[0], fed[0]))
    return found


def _can_take(call: Call, rule: Rule | None) -> bool:
    return isinstance(rule, (Linear, Depthwise)) and is_linear(rule.activation(call.layer))


def _folded(kernel: Call, norm: Call) -> Edit:
    rule = rule_of(kernel)
    assert isinstance(rule, (Linear, Depthwise))
    scale, shift = scale_and_shift(norm.layer)
    values = values_of(kernel.layer)
    bias = np.asarray(values.get("bias", 0.0), np.float64) * scale + shift
    config = rule.config(kernel.layer, len(scale), bias=True)
    return Edit(config, {**values, **rule.scaled(kernel.layer, scale), "bias": bias})
