"""Which optimiser finds the best widths: Differential Evolution beside others.

    python -m benchmarks.optimisers MODEL [--work FOLDER] [--seeds SEED ...]

MODEL is a dense model of the paper's CNN, trained on the embedded MNIST. Each method scores widths
without training, as `compressor search` does, all with the same number of evaluations, for three
shares of the weights. TPE needs `pip install optuna`. A killed benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._record import save
from benchmarks._runs import alone, kept
from benchmarks.tables import print_tables
from compressor import Evolution, load_dataset
from compressor.data import TrainingData
from compressor.foundation import quiet_tensorflow
from compressor.importing import load_model
from compressor.models import objective_for
from compressor.runs import model_digest
from compressor.searching import SCHEMES
from compressor.searching.proposals import Proposals
from compressor.searching.structure import Structure

SEEDS = (0, 1, 2)
SHARES = (1 / 16, 1 / 48, 1 / 128)
POPULATION, GENERATIONS = 10, 3
EVALUATIONS = POPULATION * (GENERATIONS + 1)
_STEP, _PATIENCE = 0.15, 10
"""of hill climbing"""


def main() -> None:
    """Optimise, print and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/optimisers"))
    parser.add_argument("--seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    quiet_tensorflow.NativeOutput().hold_back()
    if options.one:
        print(json.dumps(optimised(**json.loads(options.one))))
        return
    runs: dict[str, list[dict[str, Any]]] = {}
    # Seeds outermost: what is there after a while is one seed of every method.
    for seed in options.seeds:
        for method in methods():
            found = compared(options.work, options.model, method, seed)
            runs.setdefault(method, []).append(found)
    result = {
        "seeds": options.seeds,
        "evaluations": EVALUATIONS,
        "shares": list(SHARES),
        "methods": runs,
    }
    save("optimisers", result)
    print_tables("optimisers")


Objective = Callable[[np.ndarray], float]


def random_search(
    objective: Objective, first: Sequence[np.ndarray], dimensions: int, seed: int
) -> None:
    """Points drawn evenly."""
    generator = np.random.default_rng(seed)
    for number in range(EVALUATIONS):
        objective(first[number] if number < len(first) else generator.random(dimensions))


def hill_climbing(
    objective: Objective, first: Sequence[np.ndarray], dimensions: int, seed: int
) -> None:
    """Steps from the best point, drawn from a normal distribution; anew after ten in vain."""
    generator = np.random.default_rng(seed)
    point, best, vain = np.asarray(first[0]), objective(first[0]), 0
    for _ in range(EVALUATIONS - 1):
        if vain == _PATIENCE:
            point, best, vain = generator.random(dimensions), np.inf, 0
        step = 0 if best == np.inf else generator.normal(0, _STEP, dimensions)
        other = np.clip(point + step, 0, 1)
        found = objective(other)
        vain += 1
        if found < best:
            point, best, vain = other, found, 0


def tpe(objective: Objective, first: Sequence[np.ndarray], dimensions: int, seed: int) -> None:
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
        n_trials=EVALUATIONS,
    )


OTHERS = {"random": random_search, "hill climbing": hill_climbing, "TPE": tpe}


class _Other:
    """One of `OTHERS`, called as `Evolution` is."""

    def __init__(self, method: str) -> None:
        self._search = OTHERS[method]

    def minimise(self, *arguments: Any) -> None:
        """The last argument, whether it may go on, does not count: all end by evaluations."""
        self._search(*arguments[:4])


def methods() -> list[str]:
    """The optimisers that can be compared here."""
    there = [name for name in OTHERS if name != "TPE" or importlib.util.find_spec("optuna")]
    return [*(f"DE {scheme}" for scheme in SCHEMES), *there]


def _optimiser(method: str) -> Any:
    if method in OTHERS:
        return _Other(method)
    scheme = method.removeprefix("DE ")
    return Evolution(scheme, population=POPULATION, generations=GENERATIONS)


def compared(work: Path, base: Path, method: str, seed: int) -> dict[str, Any]:
    """What `optimised` gives, from a process of its own; kept in `work`, and done only once."""
    job = {"base": str(base), "method": method, "seed": seed}
    path = work / f"{method}-{seed}.json".replace("/", "_").replace(" ", "_")
    key = {**job, "base": model_digest(base), "shares": SHARES, "evaluations": EVALUATIONS}

    def found() -> dict[str, Any]:
        made = alone("benchmarks.optimisers", job)
        print(f"{method}, seed {seed}: {made['scores']}", flush=True)
        return made

    return kept(path, key, found)


def optimised(base: str, method: str, seed: int) -> dict[str, Any]:
    """The best score at each share, in nats, and its widths."""
    model, data = load_model(Path(base)), load_dataset(None)
    part = TrainingData.of(data, None)
    # The same calibration for every seed: only the optimiser differs.
    structure = Structure(model, part, objective_for(model, data), 0)
    found = []
    for share in SHARES:
        proposals = Proposals(lambda: structure, "weights", _optimiser(method), seed)
        found.append(proposals.under(share)["candidates"][0])
    return {
        "scores": [round(one["score"], 5) for one in found],
        "widths": [one["widths"] for one in found],
    }


if __name__ == "__main__":
    main()
