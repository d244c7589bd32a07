"""The presets `quick` and `paper`: how long a model is trained and retrained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from compressor.data import TrainingData
from compressor.training.loop import TrainingOptions

_MNIST = 55_000
"""Training images of MNIST without validation, for which the presets' epochs were chosen."""
_REPAIRED = 10
"""the power of the sparsity that is in proportion to what least squares leave to retraining"""


@dataclasses.dataclass(frozen=True)
class Preset:
    """How long an experiment trains.

    `steps` fixes the number of batches of every training; without it `epochs` passes are made
    over the training images for the basic model, and `epochs_at_zero / (1 - sparsity)`, at most
    `most_epochs`, for a retraining: 10 % needs little, 90 % most. `gentle` retrains at a learning
    rate in proportion to the sparsity, or to its tenth power where the weights that stay make up
    for those that went: where little is lost, large steps only undo what was trained.
    """

    options: TrainingOptions
    steps: int | None = None
    epochs: float = 3.0
    epochs_at_zero: float = 0.12
    most_epochs: float = 4.0
    gentle: bool = True

    def training(self, data: TrainingData) -> TrainingOptions:
        steps = self.steps or data.steps(self.epochs, self.options.batch_size)
        return dataclasses.replace(self.options, steps=steps)

    def retraining_at(
        self, sparsity: float, data: TrainingData, *, repaired: bool = False
    ) -> TrainingOptions:
        """How a model that was pruned at `sparsity` is retrained, dropout not yet scaled.

        `repaired` as by `PruningSpec.repairs`. A smaller data set than MNIST is gone through as
        often as makes as many batches.
        """
        epochs = min(self.epochs_at_zero / (1 - sparsity), self.most_epochs)
        rate, size = self.options.learning_rate, self.options.batch_size
        steps = max(data.steps(epochs, size), round(epochs * _MNIST / size))
        share = sparsity**_REPAIRED if repaired else sparsity
        return dataclasses.replace(
            self.options,
            steps=self.steps or steps,
            learning_rate=rate * max(share, 0.1) if self.gentle else rate,
        )


PRESETS: Mapping[str, Preset] = {
    "quick": Preset(TrainingOptions(1, 128, 2e-3)),
    "paper": Preset(TrainingOptions(1, 32, 5e-4), steps=10_000, gentle=False),
}
"""`quick` reaches the paper's accuracies in minutes; `paper` trains for as long as the paper did.

The paper's constant rate of 1e-4 ends at 98.6 to 99.0 % here (two seeds), below its finding that
pruning costs no accuracy; a rate that falls from 5e-4 reaches more in the same steps, and its
thresholds are as near to the paper's. `learning_rate=1e-4, schedule="constant"` gives the paper's.
"""
