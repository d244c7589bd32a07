"""Which optimiser finds the best structure: Differential Evolution beside others.

    python -m benchmarks.optimisers MODEL [--name NAME] [--space widths|weights] [--work FOLDER]
                                    [--seeds SEED ...] [--methods METHOD ...]

MODEL is a dense model that was trained on the embedded MNIST, such as the paper's CNN, and NAME
what the table calls it. Each method scores widths without training, as `compressor search` does,
all with the same number of evaluations, for three shares of the weights; or, with `--space
weights`, widths together with the weights that stay in each kernel, for three numbers of weights
that are not zero. TPE needs `pip install optuna`. A killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import math
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import save, with_earlier
from benchmarks._runs import alone, does_job, kept
from benchmarks.tables import print_tables
from compressor import Evolution, load_dataset
from compressor.data import TrainingData
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.models import objective_for
from compressor.pruning.kernels import all_kernels
from compressor.pruning.selection import lamp_counts, lamp_scores
from compressor.runs import model_digest
from compressor.searching import SCHEMES
from compressor.searching.proposals import Proposals
from compressor.searching.structure import Structure


@dataclasses.dataclass(frozen=True)
class Space:
    """What is searched for the best score under each of some budgets."""

    budgets: tuple[float, ...]
    """shares of the dense model's weights, or weights that are not zero"""
    unit: str
    population: int
    generations: int
    seeds: int

    @property
    def evaluations(self) -> int:
        return self.population * (self.generations + 1)


SPACES = {
    "widths": Space((1 / 16, 1 / 48, 1 / 128), "of the weights", 10, 3, 3),
    "weights": Space((40_000, 8_000, 4_000), "weights", 15, 12, 5),
}
"""Name -> the widths alone, as `compressor search` has them evolve, or with them how many weights
stay in each kernel."""
_STEP, _PATIENCE = 0.15, 10
"""of hill climbing"""
_SPREAD = 6.0
"""how far apart the factors of two kernels may lie, as the logarithm of their ratio"""


def main() -> None:
    """Optimise, print and save."""
    quiet_tensorflow.NativeOutput().hold_back()
    if does_job(optimised):
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--name", help="default: that of the file")
    parser.add_argument("--space", choices=list(SPACES), default="widths")
    parser.add_argument("--work", type=Path, default=Path("runs/optimisers"))
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--methods", nargs="*", choices=methods(), default=methods())
    options = parser.parse_args()
    space = SPACES[options.space]
    seeds = options.seeds or list(range(space.seeds))
    runs: dict[str, list[dict[str, Any]]] = {}
    # Seeds outermost: what is there after a while is one seed of every method.
    for seed in seeds:
        for method in options.methods:
            found = compared(options.work, options.model, options.space, method, seed)
            runs.setdefault(method, []).append(found)
    row = {
        "model": options.name or options.model.stem,
        "space": options.space,
        "seeds": seeds,
        "evaluations": space.evaluations,
        "budgets": list(space.budgets),
        "unit": space.unit,
        "methods": runs,
    }
    rows = with_earlier("optimisers", [row], operator.itemgetter("model", "space"))
    save("optimisers", {"rows": rows})
    print_tables("optimisers")


Objective = Callable[[np.ndarray], float]


def random_search(
    objective: Objective,
    first: Sequence[np.ndarray],
    dimensions: int,
    seed: int,
    evaluations: int,
) -> None:
    """Points drawn evenly."""
    generator = np.random.default_rng(seed)
    for number in range(evaluations):
        objective(first[number] if number < len(first) else generator.random(dimensions))


def hill_climbing(
    objective: Objective,
    first: Sequence[np.ndarray],
    dimensions: int,
    seed: int,
    evaluations: int,
) -> None:
    """Steps from the best point, drawn from a normal distribution; anew after ten in vain."""
    generator = np.random.default_rng(seed)
    point, best, vain = np.asarray(first[0]), objective(first[0]), 0
    for _ in range(evaluations - 1):
        if vain == _PATIENCE:
            point, best, vain = generator.random(dimensions), np.inf, 0
        step = 0 if best == np.inf else generator.normal(0, _STEP, dimensions)
        other = np.clip(point + step, 0, 1)
        found = objective(other)
        vain += 1
        if found < best:
            point, best, vain = other, found, 0


def tpe(
    objective: Objective,
    first: Sequence[np.ndarray],
    dimensions: int,
    seed: int,
    evaluations: int,
) -> None:
    """Optuna's tree-structured Parzen estimator."""
    optuna = importlib.import_module("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    for point in first:
        study.enqueue_trial({f"x{n}": float(value) for n, value in enumerate(point)})
    study.optimize(
        lambda trial: objective(
            np.asarray([trial.suggest_float(f"x{n}", 0, 1) for n in range(dimensions)])
        ),
        n_trials=evaluations,
    )


OTHERS: dict[str, Callable[..., None]] = {
    "random": random_search,
    "hill climbing": hill_climbing,
    "TPE": tpe,
}


@dataclasses.dataclass(frozen=True)
class _Other:
    """One of `OTHERS`, called as `Evolution` is."""

    method: str
    evaluations: int

    def minimise(self, *arguments: Any) -> None:
        """The last argument, whether it may go on, does not count: all end by evaluations."""
        OTHERS[self.method](*arguments[:4], self.evaluations)


def methods() -> list[str]:
    """The optimisers that can be compared here."""
    there = [name for name in OTHERS if name != "TPE" or importlib.util.find_spec("optuna")]
    return [*(f"DE {scheme}" for scheme in SCHEMES), *there]


def optimiser_of(method: str, space: Space) -> Any:
    if method in OTHERS:
        return _Other(method, space.evaluations)
    scheme = method.removeprefix("DE ")
    return Evolution(scheme, population=space.population, generations=space.generations)


def compared(work: Path, base: Path, space: str, method: str, seed: int) -> dict[str, Any]:
    """What `optimised` gives, from a process of its own; kept in `work`, and done only once."""
    job = {"base": str(base), "space": space, "method": method, "seed": seed}
    name = f"{base.stem}-{space}-{method}-{seed}.json"
    path = work / name.replace("/", "_").replace(" ", "_")
    key = {**job, "base": model_digest(base), **dataclasses.asdict(SPACES[space])}

    def found() -> dict[str, Any]:
        made = alone("benchmarks.optimisers", job)
        print(f"{space}, {method}, seed {seed}: {made['scores']}", flush=True)
        return made

    return kept(path, key, found)


def optimised(base: str, space: str, method: str, seed: int) -> dict[str, Any]:
    """The best score under each budget, in nats, and the widths that have it."""
    model, data = load_model(Path(base)), load_dataset(None)
    part = TrainingData.of(data, None)
    # The same calibration for every seed: only the optimiser differs.
    structure = Structure(model, part, objective_for(model, data), 0)
    how = optimiser_of(method, SPACES[space])
    proposals = Proposals(lambda: structure, "weights", how, seed)
    found = []
    for budget in SPACES[space].budgets:
        if space == "widths":
            found.append(proposals.under(budget)["candidates"][0])
            continue
        mixed = Mixed(structure, proposals, int(budget))
        how.minimise(mixed, mixed.first, mixed.dimensions, seed, lambda: True)
        found.append(mixed.best)
    return {
        "scores": [round(one["score"], 5) for one in found],
        "widths": [one["widths"] for one in found],
    }


class Mixed:
    """The score of widths together with how many weights stay in each kernel, under a budget.

    A point holds the powers of the widths, how much of the dense model's weights the widths leave,
    from the budget itself, with all weights kept, to all, and what the LAMP scores of each kernel
    are multiplied by, which say how many of its weights stay. The smallest of a kernel go.
    """

    def __init__(self, structure: Structure, proposals: Proposals, budget: int) -> None:
        self._structure, self._proposals, self._budget = structure, proposals, budget
        self._kernels = [k for k in all_kernels(structure.model).values() if k.variable.trainable]
        self._share = budget / structure.weights(structure.widths)
        sets, kernels = len(structure.widths), len(self._kernels)
        self.dimensions = sets + 1 + kernels
        # All widths in the same proportion, between the bounds; weights as LAMP shares them out.
        self.first = [np.array([*[1.0] * sets, 0.5, *[0.5] * kernels])]
        self.best: dict[str, Any] = {"score": math.inf, "widths": {}, "nonzeros": 0}

    def __call__(self, point: np.ndarray) -> float:
        sets = len(self._structure.widths)
        widths = self._proposals.widths(point[:sets], self._share ** (1 - point[sets]))
        self._structure.stitch(widths)
        values = [kernel.variable.numpy() for kernel in self._kernels]
        live = [np.abs(value[value != 0]) for value in values]
        factors = np.exp(_SPREAD * (point[sets + 1 :] - 0.5))
        scores = {
            str(n): lamp_scores(np.square(part)) * factor
            for n, (part, factor) in enumerate(zip(live, factors, strict=True))
        }
        kept = np.array([*lamp_counts(scores, self._budget).values()])
        for kernel, value, part, count in zip(self._kernels, values, live, kept, strict=True):
            least = np.partition(part, -count)[-count] if part.size else 0
            kernel.variable.assign(np.where(np.abs(value) >= least, value, 0))
        score = self._structure.score()
        if score < self.best["score"]:
            self.best = {"score": score, "widths": widths, "nonzeros": int(kept.sum())}
        return score if math.isfinite(score) else 1e9


if __name__ == "__main__":
    main()
