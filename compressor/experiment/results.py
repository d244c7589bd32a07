"""results.json, assembled from the records of the steps."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from compressor._version import __version__
from compressor.encodings import ENTROPY
from compressor.experiment.statistics import hypothesis
from compressor.foundation import library_versions
from compressor.pruning import Plan
from compressor.runs import RESULTS_SCHEMA, RESULTS_SCHEMA_VERSION, sparsity_name
from deploy import describe_machine

_ACCURACIES = ("validation_accuracy", "accuracy")
_RETRAINED = ("checkpoint_bytes", "nonzeros", "training")


def assemble_results(
    plan: Plan, records: Sequence[dict[str, Any]], encodings: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The results document; its schema is compressor/runs/results.schema.json.

    `records` holds one object a seed, with the records of its steps; `encodings` the break-even
    points. Two runs of one plan on one machine differ only under `prediction_time`.
    """
    proportions = [_proportion(record, row) for record in records for row in record["proportions"]]
    return {
        "schema": RESULTS_SCHEMA,
        "schema_version": RESULTS_SCHEMA_VERSION,
        "compressor_version": __version__,
        "experiment": plan.describe(),
        "environment": {
            "python": platform.python_version(),
            "machine": describe_machine(),
            # Those of every step, since a run takes no step of other versions.
            "versions": library_versions(),
        },
        "dense": [_dense(record) for record in records],
        "proportions": proportions,
        "encodings": [row | {"bound": row["name"] == ENTROPY} for row in encodings],
        "hypothesis": hypothesis(proportions),
    }


def _dense(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": record["seed"],
        **record["step_1"],
        "prediction_time": record["prediction_time"]["step_1"],
        **_artefacts(record),
    }


def _proportion(record: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    times, part = record["prediction_time"], sparsity_name(row["sparsity"])
    pruned, retrained, sparse = row["step_2_1"], row["step_2_2"], row["step_3"]
    return {
        "seed": record["seed"],
        "sparsity": row["sparsity"],
        "layers": pruned["layers"],
        "pruned": {key: pruned[key] for key in _ACCURACIES},
        "retrained": {
            **{key: retrained[key] for key in (*_ACCURACIES, *_RETRAINED)},
            "prediction_time": times[f"{part}/step_2_2"],
        },
        "sparse": {
            **{key: sparse[key] for key in ("bytes", "accuracy")},
            "prediction_time": times[f"{part}/step_3"],
        },
        "encodings": sparse["encodings"],
        **_artefacts(row),
    }


def _artefacts(record: dict[str, Any]) -> dict[str, Any]:
    return {key: record[key] for key in ("artefacts", "export_errors") if key in record}
