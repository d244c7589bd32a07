"""Fewer bits for the values of weights that are decoded, as far as accuracy holds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from compressor.data import draw_examples
from compressor.exporters import parity
from compressor.exporters.c import reference
from compressor.exporters.c.narrowing import fewer_bits
from compressor.exporters.c.network import Convolution, Dense, Network
from compressor.exporters.checking import PLAIN
from compressor.exporters.reference import Reference

_FIRST, _NEXT = 4, {True: (3, 2), False: (5, 6)}
"""bits that are tried first, and then, where those held and where they did not"""
_MOST_MACS, _MOST_BYTES = 5 * 10**9, 2**28
"""of all examples: what is more has fewer of them"""
_DISAGREEMENT = {"size": 0.001, "latency": 0.002}
"""fraction of the examples that may get another class than the model gives, in place of the same:
accuracy alone says little, since errors that come and errors that go balance by chance. For the
size convolutions lose bits, too, and what they change adds up."""
_FEWEST = 500
"""examples that tell what fewer bits cost"""


def narrow_values(
    network: Network,
    examples: Reference,
    inputs: np.ndarray,
    optimize: str,
    plainly: Callable[[Reference], np.ndarray],
) -> Network:
    """The network whose weights have as few bits as cost no accuracy on `examples`.

    `inputs` are the same examples as integers, int8 (n, height, width, channels). `plainly` gives
    what plain kernels make of a few examples, float32 (n, classes): outputs stay as close to that
    as the check of the compiled code allows. Layer by layer, from the last one on: fully connected
    ones, and for the size convolutions, too, which for the latency are not decoded. Without labels,
    or with few examples, nothing says what bits cost: the network stays as it is.
    """
    count = min(len(inputs), _affordable(network))
    if examples.labels is None or count < _FEWEST:
        return network
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(inputs))[:count])
    examples, maps = examples.only(chosen), reference.maps(network, inputs[chosen])
    least = parity.compare(scores(network, maps[network.output]), examples)
    few = draw_examples(examples.x, examples.labels, PLAIN)
    plain = plainly(examples.only(few))

    def holds(candidate: Network, position: int) -> bool:
        found = scores(network, reference.finish(candidate, maps, position))
        beside = [(found[few], plain, examples.scores[few])]
        verdict = parity.judge(found, examples, "int8", beside)
        made, allowed = verdict.chosen_on, _DISAGREEMENT[optimize]
        if made.agreement is None or least.agreement is None:
            same = made.spread <= least.spread + allowed
        else:
            same = made.agreement >= least.agreement - allowed
        return verdict.passed and same and made.is_better(least) is not False

    kinds = Convolution | Dense if optimize == "size" else Dense
    for position in reversed(range(len(network.layers))):
        layer = network.layers[position]
        if not isinstance(layer, kinds):
            continue
        first = fewer_bits(network, layer.output, _FIRST)
        held = holds(first, position)
        kept = first if held else network
        for bits in _NEXT[held]:
            candidate = fewer_bits(network, layer.output, bits)
            if holds(candidate, position) != held:
                kept = kept if held else candidate
                break
            kept = candidate if held else kept
        network = kept
    return network


def scores(network: Network, levels: np.ndarray) -> np.ndarray:
    """The real numbers that outputs of a network stand for, float32 (n, values)."""
    made = network.tensors[network.output]
    real = (levels.astype(np.float32) - made.zero) * np.float32(made.scale)
    return real.reshape(len(levels), -1)


def _affordable(network: Network) -> int:
    macs = sum(
        math.prod(network.tensors[layer.output].shape[:2]) * layer.kernel.size
        for layer in network.layers
        if isinstance(layer, Convolution | Dense)
    )
    held = sum(tensor.size for tensor in network.tensors)
    return min(_MOST_MACS // max(macs, 1), _MOST_BYTES // max(held, 1))
