"""Prune Keras models, store them sparse, and measure what that brings.

Each command of the command line is a call here: `train`, `prune_run` (`prune` for a model in
memory), `shrink_file` (`shrink` for one in memory), `sensitivity`, `sparsify`, `export`
(`export_all` for every format), `bench`, `keygen`, `package`, `verify`, `write_runner` and
`install_runner` (`runner`), `deploy` (`roll_back`, `remove_bundle`, `served`), `evaluate`, `sweep`,
`report_run`, `inspect`. Nothing is imported before it is used: `import compressor` takes
milliseconds, and TensorFlow is loaded by the first call that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from compressor._version import __version__

if TYPE_CHECKING:
    from compressor._bench import bench
    from compressor._deploy import (
        deploy,
        install_runner,
        remove_bundle,
        roll_back,
        served,
        write_runner,
    )
    from compressor._export import export, export_all
    from compressor._prune import Pruned, prune
    from compressor._sensitivity import sensitivity
    from compressor.bundling.keys import keygen
    from compressor.bundling.packaging import package
    from compressor.bundling.verification import verify
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
    from compressor.ssh import SshHost
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
    "SshHost": "ssh",
    "Sweep": "experiment",
    "TrainingOptions": "training",
    "apply_masks": "pruning.masks",
    "bench": "_bench",
    "deploy": "_deploy",
    "evaluate": "workflow",
    "export": "_export",
    "export_all": "_export",
    "inspect": "inspection",
    "install_runner": "_deploy",
    "keygen": "bundling.keys",
    "kept_weights": "pruning.magnitude",
    "load_dataset": "data",
    "load_predictor": "predictors",
    "magnitude_prune": "pruning.magnitude",
    "make_plan": "plan",
    "package": "bundling.packaging",
    "prune": "_prune",
    "prune_run": "pruning_run",
    "register_criterion": "pruning.criteria",
    "report_run": "report",
    "remove_bundle": "_deploy",
    "roll_back": "_deploy",
    "sensitivity": "_sensitivity",
    "served": "_deploy",
    "shrink": "shrinking",
    "shrink_file": "shrunk_file",
    "sparsify": "workflow",
    "sweep": "experiment",
    "train": "workflow",
    "verify": "bundling.verification",
    "write_runner": "_deploy",
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
    "SshHost",
    "Sweep",
    "TrainingOptions",
    "__version__",
    "apply_masks",
    "bench",
    "deploy",
    "evaluate",
    "export",
    "export_all",
    "inspect",
    "install_runner",
    "kept_weights",
    "keygen",
    "load_dataset",
    "load_predictor",
    "magnitude_prune",
    "make_plan",
    "package",
    "prune",
    "prune_run",
    "register_criterion",
    "remove_bundle",
    "report_run",
    "roll_back",
    "sensitivity",
    "served",
    "shrink",
    "shrink_file",
    "sparsify",
    "sweep",
    "train",
    "verify",
    "write_runner",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    return getattr(importlib.import_module(f"compressor.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
