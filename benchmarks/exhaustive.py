"""How near allocations over a table of candidates come to the best that it has.

    python -m benchmarks.exhaustive MODEL [--name NAME] [--work FOLDER] [--seeds COUNT]

MODEL is a dense model in one line, trained on the embedded MNIST, and NAME what the table calls it.
Each of its kernels is pruned on its own by `reconstruct` to eighteen numbers of weights. Under
three budgets of weights all allocations are scored without training that leave room for no more
weights of any kernel: stitched together, each logit fitted to the dense one. What LAMP scores share
out, moves of weights from one kernel to another, and optimisers are held against the best of all. A
killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import operator
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import save, with_earlier
from benchmarks._runs import alone, does_job, kept
from benchmarks.optimisers import Space, optimiser_of
from benchmarks.tables import print_tables
from compressor import PruningSpec, load_dataset, prune
from compressor.data import TrainingData
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.models import objective_for, preprocessing_of
from compressor.pruning.kernels import all_kernels
from compressor.pruning.selection import lamp_counts, lamp_scores
from compressor.runs import model_digest
from compressor.searching.structure import divergence
from compressor.training import as_logits

BUDGETS = (40_000, 8_000, 4_000)
LEVELS = 18
"""candidates of each kernel, each with 0.71 times the weights of the next"""
SCORED = 5000
"""validation examples: the logits are fitted on a third, the rest gives the score"""
MOVES = 50
"""evaluations at most, of pair moves"""
SPACE = Space(BUDGETS, "weights", population=15, generations=12, seeds=20)
"""for the optimisers: what was scored before counts as an evaluation, too"""
OPTIMISERS = "DE best/2", "DE rand/1", "random", "hill climbing"

Levels = tuple[int, ...]
"""Which candidate of each kernel: 0 has the fewest weights."""


def main() -> None:
    """Prune, score, print and save."""
    quiet_tensorflow.NativeOutput().hold_back()
    if does_job(scored):
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", help="default: that of the file")
    parser.add_argument("--work", type=Path, default=Path("runs/exhaustive"))
    parser.add_argument("--seeds", type=int, default=SPACE.seeds)
    options = parser.parse_args()
    job = {"base": str(options.model), "work": str(options.work)}
    key = {"base": model_digest(options.model), "budgets": BUDGETS, "levels": LEVELS}
    path = options.work / f"{options.model.stem}.json"
    found = kept(path, key, lambda: alone("benchmarks.exhaustive", job))
    budgets = []
    for budget in BUDGETS:
        allocations = Allocations(found["counts"], budget, found["scores"])
        shared_out = allocations.shared_out(found["lamp"][str(budget)])
        budgets.append(compared(allocations, shared_out, options.seeds))
    row = {"model": options.name or options.model.stem, "seeds": options.seeds, "budgets": budgets}
    save("exhaustive", {"rows": with_earlier("exhaustive", [row], operator.itemgetter("model"))})
    print_tables("exhaustive")


class Allocations:
    """All allocations under a budget of weights that leave room for no more of any kernel.

    `counts` are the weights of each kernel's candidates, ascending, `scores` those of allocations
    by `name_of`, of which less is better. Raises ValueError where nothing fits.
    """

    def __init__(
        self, counts: list[list[int]], budget: int, scores: Mapping[str, float] | None = None
    ) -> None:
        self.counts, self.budget, self._scores = counts, budget, scores or {}
        self.seen: list[Levels] = []
        """what was looked at, in this order, each once"""
        if self.weights((0,) * len(counts)) > budget:
            raise ValueError(f"the fewest weights of all candidates are more than {budget:,}")

    def weights(self, levels: Levels) -> int:
        """How many weights an allocation has."""
        return sum(counts[level] for counts, level in zip(self.counts, levels, strict=True))

    def all(self) -> list[Levels]:
        """Every allocation, in order."""
        tops = [range(len(counts)) for counts in self.counts]
        fitting = (levels for levels in itertools.product(*tops) if self._fits(levels))
        return [levels for levels in fitting if not any(map(self._fits, self._higher(levels)))]

    def _fits(self, levels: Levels) -> bool:
        return self.weights(levels) <= self.budget

    def _higher(self, levels: Levels) -> Iterator[Levels]:
        for place, (level, counts) in enumerate(zip(levels, self.counts, strict=True)):
            if level + 1 < len(counts):
                yield (*levels[:place], level + 1, *levels[place + 1 :])

    def filled(self, levels: Levels) -> Levels:
        """The allocation that is left of these levels under the budget, or grows out of them.

        All get lower together, and then higher one by one.
        """
        while not self._fits(levels):
            levels = tuple(max(level - 1, 0) for level in levels)
        while higher := [one for one in self._higher(levels) if self._fits(one)]:
            levels = min(higher, key=self.weights)
        return levels

    def moved(self, levels: Levels, up: int, down: int) -> Levels:
        """The allocation with the next candidate of kernel `up`, and as few less of `down`.

        The same levels where there is none.
        """
        if levels[up] + 1 == len(self.counts[up]):
            return levels
        other = list(levels)
        other[up] += 1
        while other[down] and not self._fits(tuple(other)):
            other[down] -= 1
        return self.filled(tuple(other)) if self._fits(tuple(other)) else levels

    def shared_out(self, wanted: list[int]) -> Levels:
        """The allocation with about the wanted number of weights of each kernel."""
        pairs = zip(self.counts, wanted, strict=True)
        at_most = [max(sum(count <= number for count in counts) - 1, 0) for counts, number in pairs]
        return self.filled(tuple(at_most))

    def point(self, levels: Levels) -> np.ndarray:
        """Where `at` finds these levels, float64 (kernels,)."""
        return (np.array(levels) + 0.5) / [len(counts) for counts in self.counts]

    def __call__(self, point: np.ndarray) -> float:
        """The score of the allocation at a point, as optimisers ask for it."""
        return self.look(self.at(point))

    def at(self, point: np.ndarray) -> Levels:
        """The allocation at a point of [0, 1]^kernels."""
        pairs = zip(point, self.counts, strict=True)
        return self.filled(tuple(min(int(x * len(c)), len(c) - 1) for x, c in pairs))

    def look(self, levels: Levels) -> float:
        """The score of an allocation."""
        if levels not in self.seen:
            self.seen.append(levels)
        return self._scores[name_of(levels)]

    @property
    def best(self) -> float:
        """The least score of what was looked at."""
        return min(self._scores[name_of(levels)] for levels in self.seen)

    def anew(self) -> Allocations:
        """The same, with nothing looked at."""
        return Allocations(self.counts, self.budget, self._scores)


def name_of(levels: Levels) -> str:
    """As the key of a JSON object."""
    return "-".join(map(str, levels))


def pair_moves(allocations: Allocations, start: Levels) -> None:
    """Give one kernel more weights and another fewer, in the best of all ways, while that helps.

    It ends at `MOVES` allocations looked at.
    """
    allocations.look(start)
    here = start
    while True:
        pairs = itertools.permutations(range(len(here)), 2)
        moves = {allocations.moved(here, up, down) for up, down in pairs}
        for move in sorted(moves - {here}):
            if len(allocations.seen) < MOVES:
                allocations.look(move)
        best = min(allocations.seen, key=allocations.look)
        if best == here:
            return
        here = best


def compared(allocations: Allocations, shared_out: Levels, seeds: int) -> dict[str, Any]:
    """What each method finds under the budget of `allocations`, beside the best of all."""
    everything = allocations.all()
    first = [allocations.point(shared_out)]
    lamp, moved = allocations.anew(), allocations.anew()
    lamp.look(shared_out)
    pair_moves(moved, shared_out)
    methods = {"LAMP": [lamp], "LAMP and pair moves": [moved]}
    for name, seed in itertools.product(OPTIMISERS, range(seeds)):
        run = allocations.anew()
        optimiser_of(name, SPACE).minimise(run, first, len(run.counts), seed, lambda: True)
        methods.setdefault(name, []).append(run)
    return {
        "budget": allocations.budget,
        "allocations": len(everything),
        "best": min(map(allocations.anew().look, everything)),
        "methods": {
            name: {
                "scores": [run.best for run in runs],
                "looked_at": [len(run.seen) for run in runs],
                "most_weights": max(run.weights(levels) for run in runs for levels in run.seen),
            }
            for name, runs in methods.items()
        },
    }


def scored(base: str, work: str) -> dict[str, Any]:
    """The weights of all candidates, the scores of all allocations, and what LAMP shares out."""
    model, data = load_model(Path(base)), load_dataset(None)
    stem = Path(work, model_digest(Path(base))[:16])
    kernels = all_kernels(model)
    candidates = [candidates_of(model, data, name, stem) for name in kernels]
    counts = [[int(np.count_nonzero(arrays[0])) for arrays in found] for found in candidates]
    wanted = sorted({one for budget in BUDGETS for one in Allocations(counts, budget).all()})
    scored = Scored(model, data, candidates)
    scores = {name_of(levels): round(scored.score(levels), 6) for levels in wanted}
    lamp = {n: lamp_scores(np.square(k.numpy().astype(np.float64))) for n, k in kernels.items()}
    shared_out = {str(budget): [*lamp_counts(lamp, budget).values()] for budget in BUDGETS}
    return {"counts": counts, "scores": scores, "lamp": shared_out}


Arrays = list[np.ndarray]
"""The kernel of a layer, and its other weights."""


def candidates_of(
    model: Any, data: Any, name: str, stem: Path, most: int = max(BUDGETS), levels: int = LEVELS
) -> list[Arrays]:
    """Those of one kernel, ascending to `most` weights; kept in files that begin with `stem`."""
    size = all_kernels(model)[name].numpy().size
    found = []
    for number in range(levels):
        count = round(min(size, most) * 2 ** ((number + 1 - levels) / 2))
        path = stem.with_name(f"{stem.name}-{name.replace('/', '_')}-{count}.npz")
        if not path.is_file():
            pruned = model
            if count < size:
                # Half a weight less than what goes: the paper's rule prunes one more.
                sparsity = (size - count - 0.5) / size
                spec = PruningSpec(criterion="reconstruct", layers=(name,), sparsity=sparsity)
                pruned = prune(model, data, spec, retrain=False, seed=0).model
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, *all_kernels(pruned)[name].layer.get_weights())
        with np.load(path) as file:
            found.append([file[key] for key in file.files])
    return found


class Scored:
    """Scores allocations of a model in one line, one layer after another.

    What comes out of the layers of a kernel is kept, and made anew only where its candidate, or one
    before it, is another than the last time.
    """

    def __init__(self, model: Any, data: Any, candidates: list[list[Arrays]]) -> None:
        self._candidates = candidates
        self._layers = [kernel.layer for kernel in all_kernels(model).values()]
        starts = [0, *(model.layers.index(layer) for layer in self._layers[1:]), None]
        self._parts = [model.layers[a:b] for a, b in itertools.pairwise(starts)]
        x, _ = TrainingData.of(data, None).validation_part(SCORED)
        self._aim = objective_for(model, data).aims[0]
        self._made: list[Any] = [preprocessing_of(model, x)(x)]
        self._dense = self._logits(model(self._made[0], training=False))
        self._last: Levels = ()

    def _logits(self, made: Any) -> np.ndarray:
        return np.asarray(as_logits(np.asarray(made), self._aim), np.float64)

    def score(self, levels: Levels) -> float:
        """The divergence of the dense model's classes from the allocation's, in nats."""
        pairs = zip(levels, self._last, strict=False)
        same = len([*itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)])
        del self._made[same + 1 :]
        for place in range(same, len(levels)):
            self._layers[place].set_weights(self._candidates[place][levels[place]])
            made = self._made[place]
            for layer in self._parts[place]:
                made = layer(made, training=False)
            self._made.append(made)
        self._last = levels
        logits, fitted = self._logits(self._made[-1]), len(self._dense) // 3
        known, found = (v[:fitted] - v[:fitted].mean(axis=0) for v in (self._dense, logits))
        scale = (known * found).sum(axis=0) / np.maximum((found * found).sum(axis=0), 1e-12)
        shift = self._dense[:fitted].mean(axis=0) - scale * logits[:fitted].mean(axis=0)
        stitched = scale * logits + shift
        return float(divergence(self._dense[fitted:], stitched[fitted:]).mean())


if __name__ == "__main__":
    main()
