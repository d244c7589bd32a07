"""The results document (results.json): its schema, a light check, and views of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError
from compressor.runs.schema import check_schema, check_version, load_schema, read_document

Results = Mapping[str, Any]
"""A results document; results.schema.json beside this file says what is in it."""

RESULTS_SCHEMA = "compressor.results"
RESULTS_SCHEMA_VERSION = 1


def results_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the results document."""
    return load_schema("results.schema.json")


def check_results(results: Results) -> None:
    """Raise CheckpointError in one line unless `results` can be reported.

    Checks the name, the version and the schema. Every row must have its dense model, and all rows
    the same layers, by which they are compared.
    """
    check_version(results, "results document", RESULTS_SCHEMA, RESULTS_SCHEMA_VERSION)
    check_schema(results, results_schema(), "results document", "results")
    seeds = {dense["seed"] for dense in results["dense"]}
    pruned = [layer["layer"] for layer in results["proportions"][0]["layers"]]
    for row in results["proportions"]:
        if row["seed"] not in seeds:
            raise CheckpointError("results document has no dense model of seed", value=row["seed"])
        if [layer["layer"] for layer in row["layers"]] != pruned:
            raise CheckpointError(
                "results document prunes different layers in different rows", value=row["sparsity"]
            )


def read_results(path: Path) -> dict[str, Any]:
    """Read and check the results document at `path`; raises CheckpointError in one line."""
    return read_document(path, check_results)


def by_sparsity(results: Results) -> dict[float, list[dict[str, Any]]]:
    """The rows of results["proportions"], in order of sparsity, then of seed."""
    grouped: dict[float, list[dict[str, Any]]] = {}
    for row in sorted(results["proportions"], key=lambda row: (row["sparsity"], row["seed"])):
        grouped.setdefault(row["sparsity"], []).append(row)
    return grouped


def dense_of(results: Results, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The dense models that `rows` of results["proportions"] were pruned from."""
    dense = {record["seed"]: record for record in results["dense"]}
    return [dense[row["seed"]] for row in rows]


def encoding_names(results: Results) -> list[str]:
    """Every encoding's name: in the order of results["encodings"], then any others."""
    names = [record["name"] for record in results["encodings"]]
    for row in results["proportions"]:
        names += [name for name in row["encodings"] if name not in names]
    return names


def bound_names(results: Results) -> set[str]:
    """The encodings that are a lower bound, not a layout of bytes; "entropy" always is."""
    return {record["name"] for record in results["encodings"] if record["bound"]} | {"entropy"}
