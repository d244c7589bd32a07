"""The paper's numbers beside those of a results document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.experiment import paper_results
from compressor.runs import Results


def paper_row(results: Results, sparsity: float) -> paper_results.PaperRow | None:
    """The paper's table at `sparsity` if this experiment pruned what the paper pruned.

    That is: w_fc1 and w_fc2 of the paper's shapes, nothing else, and a model with as many
    parameters. Then sizes compare; thresholds and counts compare by layer all the same.
    """
    models = {dense["parameters"] for dense in results["dense"]}
    layers = {
        (layer["paper_name"], tuple(layer["shape"]))
        for row in results["proportions"]
        for layer in row["layers"]
    }
    same = models == {paper_results.PARAMETERS} and layers == set(paper_results.SHAPES.items())
    return paper_results.row(sparsity) if same else None


def paper_layer(layer: Mapping[str, Any], sparsity: float) -> tuple[float | None, int | None]:
    """The paper's (threshold, weights kept) of `layer` at `sparsity`; None where it has none."""
    found = paper_results.row(sparsity)
    name = layer["paper_name"]
    if found is None or paper_results.SHAPES.get(name) != tuple(layer["shape"]):
        return None, None
    return found.thresholds[name], found.kept[name]
