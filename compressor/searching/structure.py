"""Narrow candidates of a model, without retraining: which channels stay, and what makes up.

For each set of coupled layers the channels are put into the order in which the layers behind them
can best do without them. What those layers lose at a width is made up for by least squares on
calibration inputs of the dense model, each set on its own; a candidate is stitched together from
the sets at its widths, without what is gone, which takes most of the time of an inference. Its last
layer is fitted once more, to the dense model's logits, on what the stitched model makes: errors of
the sets add up, and without it the score misleads.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from compressor.data import TrainingData, rows, take
from compressor.errors import CompressorError, ModelError, UsageError
from compressor.foundation import quiet_tensorflow
from compressor.models import Aim, Objective, flat_outputs, layer_macs, preprocessing_of
from compressor.models.aims import NUMBERS
from compressor.pruning.channels import ChannelSet, channel_masks, plan_channels
from compressor.pruning.kernels import Kernel, all_kernels
from compressor.pruning.masks import masked_variables
from compressor.pruning.reconstruction_channels import PULL, Consumer, removal_costs
from compressor.pruning.reconstruction_inputs import importance_of, rows_of, survey, wanted_rows
from compressor.pruning.reconstruction_layouts import Layout, layout_of
from compressor.pruning.rounds import calibration_inputs
from compressor.searching.measures import squared_error
from compressor.shrinking import COMPARED_EXAMPLES, shrink
from compressor.training import as_logits

CALIBRATION = 1024
"""Training examples whose inputs the layers are fitted on."""
SCORED = 3000
"""Validation examples at most: the last layer is fitted on a third, the rest gives the score."""
_MOST_INPUTS = 6144
"""Of a kernel that makes up for what goes; a wider one is only cut."""
_MOST_KEPT = 2**30
"""bytes of what layers become without channels, beyond which it is found anew"""
_BATCH = 250
_COMPARED = 16
"""examples that a candidate is compared on before one is chosen"""

Widths = Mapping[str, int]
"""Set of coupled layers, by its first -> how many channels it has."""


@dataclasses.dataclass(frozen=True)
class _Taker:
    """A kernel that takes the channels of a set."""

    layout: Layout
    variable: Any
    channels: np.ndarray
    """int64 (in,), the channel of each input"""
    dense: np.ndarray
    """(in, out)"""
    gram: np.ndarray
    """(in, in), of centred rows where there is a bias, with a ridge"""
    mean: np.ndarray
    """(in,)"""

    def without(self, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weights, (in, out), that make up for the channels `gone`; what to add to the bias."""
        keep = ~np.isin(self.channels, gone)
        weights = np.where(keep[:, None], self.dense, 0)
        if keep.all() or not keep.any():
            return weights, self.mean @ (self.dense - weights)
        if len(keep) <= _MOST_INPUTS:
            between = self.gram[np.ix_(keep, ~keep)] @ self.dense[~keep]
            weights[keep] += np.linalg.solve(self.gram[np.ix_(keep, keep)], between)
        return weights, self.mean @ (self.dense - weights)


class Structure:
    """The widths that `model` can be narrowed to, and what each would cost and lose.

    `model` is changed by `stitch`, and back to dense by `restore`. Raises ModelError where no
    channel of it can be removed.
    """

    def __init__(self, model: Any, data: TrainingData, objective: Objective, seed: int) -> None:
        self.model, self.objective = model, objective
        self._kernels = all_kernels(model)
        self._plan = plan_channels(model, self._trainable(), named=False)
        self._dense = {id(v): np.array(v.numpy()) for v in model.variables}
        self.widths: dict[str, int] = {part.name: part.channels.size for part in self._plan.sets}
        """those of the dense model"""
        calibration = calibration_inputs(model, data, objective, CALIBRATION, seed)
        found = {name: layout_of(k.layer, k.variable) for name, k in self._kernels.items()}
        self._layouts = {name: layout for name, layout in found.items() if layout is not None}
        seen = survey(model, self._layouts, calibration)
        self._takers: dict[str, list[_Taker]] = {}
        self._order: dict[str, np.ndarray] = {}
        for part in self._plan.sets:
            takers, consumers = [], []
            for axis in self._plan.map.axes:
                inside = np.isin(axis.channels, part.channels).any()
                name = self._name_of(axis.variable)
                if axis.role != "consumer" or not inside or name not in seen:
                    continue
                layout = self._layouts[name]
                dense = layout.to_matrix(self._kernels[name].numpy())
                if len(dense) > 1:
                    continue
                channels = layout.to_matrix(axis.spread(axis.channels))[0, :, 0]
                place = list(self._kernels).index(name)
                wanted = wanted_rows(layout, seen[name], dense.shape, place)
                rows = rows_of(model, {name: wanted}, calibration)[name][0]
                rows = rows[np.isfinite(rows).all(axis=1)]
                mean = rows.mean(axis=0) if layout.bias is not None else np.zeros(rows.shape[1])
                rows = rows - mean.astype(np.float32)
                scale = importance_of(seen[name], dense.shape)[0] * np.sqrt(seen[name].places)
                consumers.append(Consumer(rows, dense[0], scale, channels))
                takers.append(_Taker(layout, axis.variable, channels, dense[0], _gram(rows), mean))
            self._takers[part.name] = takers
            self._order[part.name] = self._costs(part, consumers)
        self._macs = {
            name: found.dense if found else None for name, found in layer_macs(model).items()
        }
        self._made: dict[tuple[str, int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._shares = self._found_shares()
        self._compared, _ = data.validation_part(COMPARED_EXAMPLES)
        self._feed = preprocessing_of(model, self._compared)
        self._scored = _Scored(model, data, objective, self._layouts)

    def _trainable(self) -> dict[str, Kernel]:
        return {
            name: k for name, k in self._kernels.items() if k.variable.trainable and k.is_matrix
        }

    def _name_of(self, variable: Any) -> str:
        return next((n for n, k in self._kernels.items() if k.variable is variable), "")

    def _costs(self, part: ChannelSet, consumers: list[Consumer]) -> np.ndarray:
        """What each channel of the set costs to remove, in the best order, float64 (channels,)."""
        if consumers:
            return removal_costs(consumers, part.channels, np.zeros(0, np.int64))
        costs = np.zeros(part.channels.size)
        for name, ids in part.layers.items():
            size = np.abs(self._kernels[name].as_matrix(self._kernels[name].numpy()))
            units = size.reshape(-1, size.shape[-1]).mean(axis=0)
            np.add.at(costs, np.searchsorted(part.channels, ids), units)
        return costs

    def weights(self, widths: Widths) -> int:
        """How many weights the kernels have at these widths."""
        return sum(self._sizes(widths, macs=False).values())

    def macs(self, widths: Widths) -> int:
        """Multiply-accumulates of one inference at these widths; of unknown layers the weights."""
        return sum(self._sizes(widths, macs=True).values())

    def _sizes(self, widths: Widths, *, macs: bool) -> dict[str, int]:
        """Kernel -> its weights, or its multiply-accumulates."""
        found = {}
        for name, kernel in self._kernels.items():
            size = float(math.prod(kernel.shape))
            if macs and (total := self._macs.get(kernel.outer)):
                size = total
            for part, inside in self._shares[name]:
                size *= 1 - inside * (1 - widths[part] / self.widths[part])
            found[name] = max(round(size), 1)
        return found

    def _found_shares(self) -> dict[str, list[tuple[str, float]]]:
        """Kernel -> each set that one of its axes runs over, and for how much of the axis."""
        found: dict[str, list[tuple[str, float]]] = {name: [] for name in self._kernels}
        for axis in self._plan.map.axes:
            name = self._name_of(axis.variable)
            for part in self._plan.sets if name else ():
                inside = float(np.isin(axis.channels, part.channels).mean())
                found[name] += [(part.name, inside)] if inside else []
        return found

    def stitch(self, widths: Widths) -> None:
        """Give the model these widths: what is beyond them becomes zero."""
        for name, width in widths.items():
            if not 1 <= width <= self.widths.get(name, 0):
                what = "the recipe does not fit the model: it has no such width"
                raise UsageError(what, value=f"{name}: {width}")
        self.restore()
        targets: dict[str, float] = {}
        for part in self._plan.sets:
            part.gone = np.zeros(0, np.int64)
            count = part.channels.size
            # Half a channel more, so that rounding takes none.
            sparsity = (count - widths[part.name] + 0.5) / count if widths[part.name] < count else 0
            targets |= dict.fromkeys(part.layers, sparsity)
        masks, _ = channel_masks(
            self._plan, self._scores(), targets, lambda target: target, "layer"
        )
        for part in self._plan.sets:
            for number, taker in enumerate(self._takers[part.name] if part.gone.size else ()):
                key = part.name, number, widths[part.name]
                if key not in self._made:
                    if sum(made.nbytes for made, _ in self._made.values()) > _MOST_KEPT:
                        self._made.clear()
                    self._made[key] = taker.without(part.gone)
                weights, shift = self._made[key]
                change = taker.layout.to_kernel((weights - taker.dense)[None])
                taker.variable.assign_add(change.astype(np.float32))
                if taker.layout.bias is not None:
                    taker.layout.add_to_bias(shift.astype(np.float32))
        for variable, mask in masked_variables(self.model, masks):
            variable.assign(np.where(mask, variable.numpy(), 0))

    def _scores(self) -> dict[str, np.ndarray]:
        found = {}
        for part in self._plan.sets:
            for name, ids in part.layers.items():
                line = self._order[part.name][np.searchsorted(part.channels, ids)]
                found[name] = np.broadcast_to(line, self._kernels[name].matrix_shape)
        return found

    def narrowed(self, compared: int = COMPARED_EXAMPLES) -> tuple[Any, float]:
        """A new model of what was stitched, its last layers fitted to the dense logits; its score.

        The score, of which less is better, is the divergence of the dense model's classes from the
        candidate's, in nats, of other outputs the squared error relative to how the dense ones
        vary, on examples that the last layers were not fitted on; of several outputs the sum.
        The outputs are `compared` with the stitched model's on so many examples at most. Raises as
        `shrink` does.
        """
        few = self._feed(take(self._compared, slice(compared)))
        found = shrink(self.model, few, fold_batchnorm=False).model
        return found, self._scored.fit(found)

    def score(self) -> float:
        """That of what was stitched; infinite where no model can be made of it."""
        try:
            return self.narrowed(_COMPARED)[1]
        except CompressorError:
            return math.inf

    def restore(self) -> None:
        """Make the model dense again."""
        for variable in self.model.variables:
            variable.assign(self._dense[id(variable)])


def _gram(rows: np.ndarray) -> np.ndarray:
    if not 0 < rows.shape[1] <= _MOST_INPUTS:
        return np.zeros((0, 0))
    gram = (rows.T @ rows).astype(np.float64) / max(len(rows), 1)
    gram[np.diag_indices_from(gram)] += PULL * max(np.trace(gram) / len(gram), 1e-30)
    return gram


class _Scored:
    """Examples, the dense logits for them, and which outputs of a model can be fitted."""

    def __init__(
        self, model: Any, data: TrainingData, objective: Objective, layouts: Mapping[str, Layout]
    ) -> None:
        x, _ = data.validation_part(SCORED)
        feed = preprocessing_of(model, x)
        count = rows(x)
        starts = range(0, count, _BATCH)
        self._batches = [feed(take(x, slice(start, start + _BATCH))) for start in starts]
        self._aims = objective.aims
        pairs = zip(self._aims, model.outputs, strict=True)
        self._fits = [_can_be_fitted(output, aim, layouts) for aim, output in pairs]
        self._dense, _ = self._run(model)
        self._fitted = count // 3 if any(self._fits) else 0

    def _run(self, model: Any) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
        """Logits (n, ...) of each output, and what enters its last layer, (n, in)."""
        tensorflow, keras = quiet_tensorflow.load()
        last = [_last_layer(output) for output in model.outputs]
        entering = [layer.input for layer, fits in zip(last, self._fits, strict=True) if fits]
        probe = keras.Model(model.inputs, [*model.outputs, *entering])
        run = tensorflow.function(
            lambda batch: probe(batch, training=False), autograph=False, reduce_retracing=True
        )
        made = [flat_outputs(run(batch)) for batch in self._batches]
        parts = iter([np.concatenate(part) for part in zip(*made, strict=True)])
        logits = [np.asarray(as_logits(next(parts), aim)) for aim in self._aims]
        return logits, [next(parts) if fits else None for fits in self._fits]

    def fit(self, model: Any) -> float:
        score = 0.0
        for aim, dense, output, logits, entered in zip(
            self._aims, self._dense, model.outputs, *self._run(model), strict=True
        ):
            if entered is not None and self._fitted:
                logits = self._refit(_last_layer(output), aim, dense, logits, entered)
            part = slice(self._fitted, None)
            score += _distance(aim, dense[part], logits[part])
        return score

    def _refit(
        self, last: Any, aim: Aim, dense: np.ndarray, logits: np.ndarray, entered: np.ndarray
    ) -> np.ndarray:
        """Bring the logits (n, k) of an output closer to the dense ones; the new ones."""
        part = slice(0, self._fitted)
        kernel, bias = last.kernel, last.bias
        live = entered.any(axis=0)
        rows = entered[part][:, live].astype(np.float64)
        centre = rows.mean(axis=0)
        missing = _known(aim, dense[part]) - _known(aim, logits[part])
        gram = _gram((rows - centre).astype(np.float32))
        if not gram.size:
            return logits
        change = np.linalg.solve(gram, (rows - centre).T @ missing / len(rows))
        shift = missing.mean(axis=0) - centre @ change
        whole = np.zeros(kernel.shape, np.float32)
        whole[live] = change
        kernel.assign_add(whole)
        bias.assign_add(shift.astype(np.float32))
        return np.asarray(logits + entered[:, live] @ change + shift)


def _last_layer(output: Any) -> Any:
    return output._keras_history.operation


def _can_be_fitted(output: Any, aim: Aim, layouts: Mapping[str, Layout]) -> bool:
    """Whether a Dense layer with a bias gives an output, and can be fitted."""
    layer = _last_layer(output)
    if not aim.of_classes:
        linear = layer.activation.__name__ == "linear" if hasattr(layer, "activation") else False
        if aim.head.task in NUMBERS and not linear:
            return False
    elif aim.head.width == 1:
        return False
    biased = any(one.layer is layer and one.bias is not None for one in layouts.values())
    if not biased or type(layer).__name__ != "Dense":
        return False
    return len(layer._inbound_nodes) == 1 and len(layer.input.shape) == 2


def _known(aim: Aim, logits: np.ndarray) -> np.ndarray:
    """Logits as far as they are known: where a softmax follows, up to a constant of each row."""
    return logits - logits.mean(axis=1, keepdims=True) if aim.of_classes else logits


def _distance(aim: Aim, wanted: np.ndarray, found: np.ndarray) -> float:
    """How far logits (n, ...) are from the wanted ones: of classes the divergence in nats."""
    if not aim.of_classes:
        return squared_error(found, wanted)
    width = wanted.shape[-1]
    return float(np.mean(divergence(wanted.reshape(-1, width), found.reshape(-1, width))))


def divergence(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence of the classes, (n,), of two arrays of logits, (n, classes)."""
    logs = [v - np.logaddexp.reduce(v, axis=1, keepdims=True) for v in (wanted, found)]
    return np.sum(np.exp(logs[0]) * (logs[0] - logs[1]), axis=1)


def narrowable(model: Any, data: TrainingData, objective: Objective, seed: int) -> Structure | None:
    """The structure of a model; None where no channel of it can be removed."""
    try:
        return Structure(model, data, objective, seed)
    except ModelError:
        return None
