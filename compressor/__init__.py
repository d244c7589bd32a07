"""Prune Keras models, store them sparse, and measure what that brings.

Each command of the command line is a call here: `train`, `prune_run` (`prune` for a model in
memory), `shrink_file` (`shrink` for one in memory), `sensitivity`, `sparsify`, `export`
(`export_all` for every format), `bench`, `evaluate`, `sweep`, `report_run`, `inspect`. Nothing is
imported before it is used: `import compressor` takes milliseconds, and TensorFlow is loaded by the
first call that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from compressor._version import __version__

if TYPE_CHECKING:
    from compressor._bench import bench
    from compressor._export import export, export_all
    from compressor._prune import Pruned, prune
    from compressor._sensitivity import sensitivity
    from compressor.data import Dataset, load_dataset
    from compressor.distillation import Distillation
    from compressor.errors import CompressorError
    from compressor.experiment import Sweep, sweep
    from compressor.inspection import inspect
    from compressor.plan import Plan, make_plan
    from compressor.predictors import Predictor, load_predictor
    from compressor.pruning.criteria import Criterion, register_criterion
    from compressor.pruning.magnitude import kept_weights, magnitude_prune
    from compressor.pruning.masks import apply_masks
    from compressor.pruning.spec import PruningSpec
    from compressor.pruning_run import prune_run
    from compressor.report import report_run
    from compressor.shrinking import Shrunk, shrink
    from compressor.shrunk_file import shrink_file
    from compressor.training import TrainingOptions
    from compressor.workflow import evaluate, sparsify, train

_HOMES = {
    "CompressorError": "errors",
    "Criterion": "pruning.criteria",
    "Dataset": "data",
    "Distillation": "distillation",
    "Plan": "plan",
    "Predictor": "predictors",
    "Pruned": "_prune",
    "PruningSpec": "pruning.spec",
    "Shrunk": "shrinking",
    "Sweep": "experiment",
    "TrainingOptions": "training",
    "apply_masks": "pruning.masks",
    "bench": "_bench",
    "evaluate": "workflow",
    "export": "_export",
    "export_all": "_export",
    "inspect": "inspection",
    "kept_weights": "pruning.magnitude",
    "load_dataset": "data",
    "load_predictor": "predictors",
    "magnitude_prune": "pruning.magnitude",
    "make_plan": "plan",
    "prune": "_prune",
    "prune_run": "pruning_run",
    "register_criterion": "pruning.criteria",
    "report_run": "report",
    "sensitivity": "_sensitivity",
    "shrink": "shrinking",
    "shrink_file": "shrunk_file",
    "sparsify": "workflow",
    "sweep": "experiment",
    "train": "workflow",
}

__all__ = [
    "CompressorError",
    "Criterion",
    "Dataset",
    "Distillation",
    "Plan",
    "Predictor",
    "Pruned",
    "PruningSpec",
    "Shrunk",
    "Sweep",
    "TrainingOptions",
    "__version__",
    "apply_masks",
    "bench",
    "evaluate",
    "export",
    "export_all",
    "inspect",
    "kept_weights",
    "load_dataset",
    "load_predictor",
    "magnitude_prune",
    "make_plan",
    "prune",
    "prune_run",
    "register_criterion",
    "report_run",
    "sensitivity",
    "shrink",
    "shrink_file",
    "sparsify",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    return getattr(importlib.import_module(f"compressor.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
