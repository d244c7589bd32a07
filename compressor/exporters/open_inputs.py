"""Models whose inputs have open sizes: what a file is fixed to, and where else it is right."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from compressor.exporters.made_inputs import MadeInputs
from compressor.exporters.reference import Reference
from compressor.models import (
    Preprocessing,
    Sizes,
    input_names,
    preprocessing_of,
    sized,
)

Scores = Callable[[Any, Preprocessing, str], np.ndarray]

_EXAMPLES = 4
_FACTORS = (2.0, 0.5, 1.5)
"""By which open sizes are changed to prove that a file takes others; the first that the model
takes. Twice the size is divisible by what the size is."""


@dataclasses.dataclass(frozen=True)
class OpenInputs:
    """A model, and the sizes of those inputs that leave some open; none where `sizes` is empty."""

    model: Any
    sizes: Sizes
    made: MadeInputs

    def closed(self, model: Any) -> Any:
        """`model`, which has the same inputs, with these sizes."""
        return sized(model, self.sizes) if self.sizes else model

    @property
    def fixed(self) -> str:
        """The note on a file that is fixed to these sizes."""
        return f"Inputs of any other size are refused: it is fixed to {_shown(self.sizes)}."

    def proven(self, other: Reference) -> str:
        """The note on a file that takes any size, and was run on the examples `other`, too."""
        found = dict(zip(input_names(self.model), other.feed.row_shapes, strict=True))
        there = _shown({name: found[name] for name in self.sizes})
        return f"Inputs have open sizes: right at {_shown(self.sizes)} and at {there}."

    def elsewhere(self, reference: Reference, scores_of: Scores) -> Reference | None:
        """The outputs of the model on random inputs of another size; None if it takes no other.

        `scores_of` gives the outputs on inputs, fed so, which messages call as the last argument.
        """
        shapes = dict(zip(input_names(self.model), self.model.inputs, strict=True))
        for factor in _FACTORS:
            sizes = {
                name: tuple(
                    max(int(factor * size), 1) if shapes[name].shape[place] is None else size
                    for place, size in enumerate(shape, 1)
                )
                for name, shape in self.sizes.items()
            }
            if sizes == self.sizes:
                continue
            x = self.made.draw(self.model, _EXAMPLES, sizes)
            feed = preprocessing_of(self.model, x)
            try:
                scores = scores_of(x, feed, "inputs of another size")
            except Exception:  # Keras raises whatever a layer makes it raise
                continue
            if scores.shape[1:] == reference.scores.shape[1:]:
                return dataclasses.replace(
                    reference, x=x, feed=feed, scores=scores, labels=None, made_up=True
                )
        return None


def _shown(sizes: Sizes) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in sizes.items())
