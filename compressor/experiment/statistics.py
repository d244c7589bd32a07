"""Spearman's rho: whether two columns of an experiment are monotonically related.

1. *rho* is Pearson's correlation of the ranks (ties get their mean rank).
2. *p-value*: two-sided, of "no association", by permuting the ranks. Up to 40,320 permutations
   (eight rows of one seed, four of two seeds) are enumerated; otherwise as many are drawn at random
   with a fixed seed, and the smallest p-value is 2 / 40,321. Beyond 500 rows of one seed Student's
   t is accurate and is used (scipy.stats.spearmanr). No correction is made for the three tests.
3. *Confidence interval*: of the rho that is expected of a seed. It is the wider, at each end, of
   two. Fisher's z with the standard error sqrt((1 + rho^2 / 2) / (n - 3)) of Bonett and Wright
   (2000), "Sample size requirements for estimating Pearson, Kendall and Spearman correlations",
   Psychometrika 65, 23-28, doi:10.1007/BF02294183. It needs no resampling, so it is reproducible.
   But near a perfect order hardly any value differs from its rank: Fisher's z then covers as little
   as 71 % of the time, and has no width at |rho| = 1. There the few swaps of neighbours are
   counted: k (1 - |rho|) n (n^2 - 1) / 12 of them in k seeds of n rows, with Garwood's interval of
   a count (1936), "Fiducial limits for the Poisson distribution", Biometrika 28, 437-442. Its
   unit is two swaps, since a value that moves by two places counts as three. The test simulates
   that 95 % are covered.
4. *Several seeds*: the rows of one seed are repeated measures of one dense model, so rows of
   different seeds are not exchangeable. Each seed is a block: rho is the mean of the seeds' own
   rho, and values are permuted within their seed only. This is the permutation version of the trend
   test of Page (1963), "Ordered hypotheses for multiple treatments", JASA 58, 216-230. A seed whose
   values are all equal counts as 0.
5. *Interval of several seeds*: the mean of rule 4 is a correlation with the seeds' means held
   constant, so n - 3 of rule 3 becomes n - 3 - (seeds - 1), as for any partial correlation: Fisher
   (1924), "The distribution of the partial correlation coefficient", Metron 3, 329-332.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

PERMUTATIONS = 40_320
"""The most that are enumerated, and as many are drawn otherwise: 8!."""

_LARGE = 500
_BATCH = 5_000


def spearman(
    x: Sequence[float],
    y: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    groups: Sequence[object] | None = None,
) -> dict[str, Any]:
    """Spearman's rho of `x` and `y`, with p-value and confidence interval.

    `x` and `y` have length n; `groups`, of length n too, names the block of each row (rule 4
    above). `seed` fixes the random permutations.

    Returns {"rho", "p_value", "confidence_interval", "confidence", "n", "method", "reason"}, ready
    for JSON: what cannot be computed is None, and `reason` says why. Raises ValueError for unequal
    lengths, values that are not finite, and a confidence outside of 0 to 1.
    """
    import numpy as np

    columns = [np.asarray(column, dtype=np.float64) for column in (x, y)]
    n = columns[0].size
    labels: list[object] = list(groups) if groups is not None else [0] * n
    if columns[0].shape != (n,) or columns[1].shape != (n,) or len(labels) != n:
        raise ValueError(f"x, y and groups differ in length: {len(x)}, {len(y)}, {len(labels)}")
    if not all(np.isfinite(column).all() for column in columns):
        raise ValueError("x or y holds a value that is not finite")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is not between 0 and 1: {confidence}")

    keys = dict.fromkeys(labels)
    blocks = [[i for i, label in enumerate(labels) if label == key] for key in keys]
    result: dict[str, Any] = {
        **{"rho": None, "p_value": None, "confidence_interval": None},
        **{"confidence": confidence, "n": n, "method": "Spearman's rho"},
        "reason": _obstacle(columns, blocks),
    }
    if result["reason"]:
        return result

    scaled_x, scaled_y = (np.stack([_scaled_ranks(c[b]) for b in blocks]) for c in columns)
    # Rounded, so that a perfect order is exactly 1.
    rho = round(float((scaled_x * scaled_y).sum(axis=1).mean()), 12)
    result["rho"] = rho
    result["p_value"], how = _p_value(scaled_x, scaled_y, seed)
    result["confidence_interval"], result["reason"] = _interval(rho, blocks, confidence)
    mean_of = f"mean of {len(blocks)} seeds' " if len(blocks) > 1 else ""
    within = " within seeds" if len(blocks) > 1 else ""
    result["method"] = (
        f"{mean_of}Spearman's rho; two-sided p-value from {how}{within}; "
        "interval by Fisher's z with the standard error of Bonett and Wright (2000), or, near a "
        "perfect order, by the number of swaps"
    )
    return result


def hypothesis(proportions: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Test the paper's hypothesis on the rows of results["proportions"].

    Returns a record of `spearman` for sparsity against each of "size" (bytes of the sparse file),
    "accuracy" (0 to 1) and "prediction_time" (median, ms); the rows of each seed are one block.
    """
    rows = sorted(proportions, key=lambda row: (row["seed"], row["sparsity"]))
    sparsities = [row["sparsity"] for row in rows]
    seeds = [row["seed"] for row in rows]
    measured = {
        "size": [row["sparse"]["bytes"] for row in rows],
        "accuracy": [row["sparse"]["accuracy"] for row in rows],
        "prediction_time": [row["sparse"]["prediction_time"]["total_ms"]["p50"] for row in rows],
    }
    return {name: spearman(sparsities, y, groups=seeds) for name, y in measured.items()}


def _obstacle(columns: list[Any], blocks: list[list[int]]) -> str | None:
    n = columns[0].size
    if n < 4:
        return f"{n} rows are too few; at least 4 are needed"
    if len({len(block) for block in blocks}) > 1:
        return "the seeds differ in their number of proportions"
    for name, column in zip(("proportions", "values"), columns, strict=True):
        if all((column[block] == column[block[0]]).all() for block in blocks):
            within = " within each seed" if len(blocks) > 1 else ""
            return f"all {name} are equal{within}, so they have no order"
    return None


def _scaled_ranks(values: Any) -> Any:
    """Ranks with mean 0 and norm 1, so that a dot product is rho; zeros if all are equal."""
    import numpy as np
    from scipy.stats import rankdata

    ranks = rankdata(values)
    ranks -= ranks.mean()
    norm = float(np.sqrt((ranks**2).sum()))
    return ranks / norm if norm else ranks


def _p_value(scaled_x: Any, scaled_y: Any, seed: int) -> tuple[float, str]:
    """The two-sided p-value of blocks of scaled ranks, (seeds, rows), and how it was found."""
    import numpy as np
    from scipy import stats

    seeds, rows = scaled_y.shape
    if seeds == 1 and rows > _LARGE:
        return float(stats.spearmanr(scaled_x[0], scaled_y[0]).pvalue), "Student's t"

    def statistic(*samples: Any, axis: int = -1) -> Any:
        total = sum((s * r).sum(axis=axis) for s, r in zip(samples, scaled_x, strict=True))
        return total / seeds

    test = stats.permutation_test(
        tuple(scaled_y),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=_BATCH,
        alternative="two-sided",
        rng=np.random.default_rng(seed),
    )
    # rows! may be too large for a float.
    every = math.factorial(rows) ** seeds if rows <= 8 else math.inf
    if every <= PERMUTATIONS:
        return float(test.pvalue), f"all {every:,} permutations"
    return float(test.pvalue), f"{PERMUTATIONS:,} random permutations"


def _interval(
    rho: float, blocks: list[list[int]], confidence: float
) -> tuple[list[float] | None, str | None]:
    seeds, each = len(blocks), len(blocks[0])
    if each < 4:
        return None, "no interval: it needs at least 4 proportions of each seed"
    near, far = _counted(abs(rho), seeds, each, confidence)
    if abs(rho) < 1:
        centre = math.atanh(abs(rho))
        error = math.sqrt((1 + rho**2 / 2) / (seeds * each - 3 - (seeds - 1)))
        reach = NormalDist().inv_cdf(0.5 + confidence / 2) * error
        near = max(near, math.tanh(centre + reach))
        far = min(far, math.tanh(centre - reach))
    return ([far, near] if rho >= 0 else [-near, -far]), None


def _counted(rho: float, seeds: int, each: int, confidence: float) -> tuple[float, float]:
    """The upper and lower end for `rho`, 0 to 1, by the swaps that are missing to 1 (rule 3)."""
    from scipy.stats import chi2

    unit = 2 * 12 / (seeds * each * (each**2 - 1))
    count, tail = (1 - rho) / unit, (1 - confidence) / 2
    fewest = chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    most = chi2.ppf(1 - tail, 2 * count + 2) / 2
    return float(1 - unit * fewest), float(max(1 - unit * most, -1.0))
