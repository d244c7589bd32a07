"""Which model file a command works on, and where it writes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError, UsageError
from compressor.foundation import sha256
from compressor.runs.kinds import is_graph, is_saved_model, model_files, model_kind, refuse_foreign
from compressor.runs.run_directory import RECORD, done_otherwise, first_difference, read_record

MODEL, MASKS, SPARSE = "model.keras", "masks.npz", "sparse.npz"
STEPS = ("dense", "step_1", "step_2_1", "step_2_2", "step_3")
# What decides a pruning, in the configuration of its steps.
_PRUNING = (
    *("model", "layers", "sparsity", "granularity", "scope", "criterion"),
    *("pruning_schedule", "rounds", "calibration"),
)

MODEL_RUN = {"kind": "model"}
"""The identity of a run directory that holds one model."""


def same_model(source: Path, digest: str) -> Path:
    """`source`, if it still has this sha256; else raises CheckpointError."""
    if not source.exists() or model_digest(source) != digest:
        raise CheckpointError(
            "the model that was pruned is gone or has changed",
            value=source,
            hint="train it again with -1, or prune it from a file with compressor prune",
        )
    return source


def is_finished(step: Path) -> bool:
    """Whether the folder of a step has a record."""
    return (step / RECORD).is_file()


def outdated_steps(path: Path, steps: Sequence[str] = STEPS) -> list[str]:
    """Those steps of train or prune in a folder that were made of what it does not hold any more.

    A step that is done anew leaves those behind it until they are done anew, too. Of `steps` the
    records are read. Raises CheckpointError for one that is damaged or was altered.
    """
    known = {step: read_record(path / step) for step in steps if is_finished(path / step)}
    found = {step for step in ("step_2_1", "step_2_2") if _was_of_another(known, step, path)}
    if {"step_2_1", "step_2_2"} <= known.keys():
        first, second = (known[step]["config"] for step in ("step_2_1", "step_2_2"))
        if any(first.get(key) != second.get(key) for key in _PRUNING):
            found.add("step_2_2")
    pruned = next((step for step in ("step_2_2", "step_2_1") if step in known), None)
    if pruned is not None:
        last = known[pruned]["sha256"].get(MODEL)
        made_of = {step: known[step]["config"].get("model") for step in known}
        if "step_3" in known and (pruned in found or made_of["step_3"] not in (None, last)):
            found.add("step_3")
        if "dense" in known and None not in (both := {made_of["dense"], made_of[pruned]}):
            found |= {"dense"} if len(both) > 1 else set()
    return sorted(found)


def refuse_other_pruning(path: Path, config: Mapping[str, Any]) -> None:
    """Raise RunDirectoryError where a finished step in `path` is of another pruning than `config`.

    To be called before the first of its steps is done.
    """
    wanted = {key: one for key, one in json.loads(json.dumps(config)).items() if key in _PRUNING}
    steps = [path / "step_2_1", path / "step_2_2", *sorted(path.glob("round-*/step_2_*"))]
    for step in filter(is_finished, steps):
        found = read_record(step)["config"]
        before = {key: found[key] for key in _PRUNING if key in found}
        if difference := first_difference(before, wanted):
            raise done_otherwise(step, difference)


def _was_of_another(known: Mapping[str, dict[str, Any]], step: str, path: Path) -> bool:
    """Whether step_1 was done anew since it, or what was done of it, was pruned in `step`.

    Another model may be pruned into the folder of a training: that came later then.
    """
    if step not in known or "step_1" not in known:
        return False
    model = known["step_1"]["sha256"].get(MODEL)
    if known[step]["config"].get("model", model) == model:
        return False
    trained, pruned = ((path / name / RECORD).stat().st_mtime_ns for name in ("step_1", step))
    return trained > pruned


def model_digest(source: Path) -> str:
    """The sha256 of a model file, or of those of a SavedModel folder's files, in order of names.

    Raises CheckpointError when one cannot be read.
    """
    if not source.is_dir():
        return sha256(source)
    lines = (
        f"{sha256(file)} {file.relative_to(source).as_posix()}" for file in model_files(source)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def keras_file(model: Path, takes: str = "a Keras model or a run directory") -> Path:
    """The model file (.keras, .h5, a SavedModel folder) that `model` is or holds.

    Raises UsageError with what the command `takes`, ModelError for a model of another program.
    """
    source = find_checkpoint(model)
    sparse = source.suffix == ".npz"
    if sparse or (model_kind(source) is None and source.suffix != ".keras"):
        refuse_foreign(source)
        raise UsageError(f"this takes {takes}", value=model)
    return source


def model_to_shrink(model: Path) -> Path:
    """The model file that a model, the folder of a step or a run directory means."""
    pruned, retrained = model / "step_2_1", model / "step_2_2"
    if model.is_dir() and (retrained / MODEL).is_file():
        _check_current(retrained)
        return retrained / MODEL
    if (
        _is_run(model)
        and is_finished(pruned)
        and read_record(pruned)["config"].get("data", 0) is None
    ):
        return pruned / MODEL  # without data nothing is retrained
    return keras_file(model)


def shrunk_path(model: Path, source: Path) -> Path:
    """Where the shrunk version of `source`, which the user named as `model`, goes by default."""
    if source not in (model, model / MODEL):
        return model / "shrunk.keras"
    return _artefact_parent(model) / f"{source.stem}-shrunk.keras"


def artefact_stem(model: Any) -> str:
    """What an artefact of `model`, a Keras model or what the user named, is called by default."""
    if not isinstance(model, (str, Path)):
        return re.sub(r"\W+", "_", model.name)
    return Path(model).stem if is_graph(Path(model)) else model_to_shrink(Path(model)).stem


def artefact_path(model: Any, file_format: str) -> Path:
    """Where the artefact of `model` goes by default: beside the file, or in the run directory."""
    return _artefact_parent(model) / f"{artefact_stem(model)}.{file_format}"


def artefacts_folder(model: Any, output: Path | str | None) -> Path:
    """Where the artefacts of `model` in all formats go: `output`, or NAME-artefacts."""
    if output is None:
        return _artefact_parent(model) / f"{artefact_stem(model)}-artefacts"
    if Path(output).exists() and not Path(output).is_dir():
        raise UsageError("exporting all formats needs a folder", value=output)
    return Path(output)


def _artefact_parent(model: Any) -> Path:
    if not isinstance(model, (str, Path)):
        raise UsageError("a model in memory needs an output", hint="name a file")
    if is_graph(Path(model)):
        return Path(model).parent
    given, source = Path(model), model_to_shrink(Path(model))
    if source not in (given, given / MODEL):
        return given
    if is_finished(source.parent):
        raise UsageError(
            "the model belongs to a finished step", value=source, hint="name a file with -o"
        )
    return source.parent


def model_and_output(
    model: Path, step: str, output: Path | str | None, suffix: str
) -> tuple[Path, Path]:
    """The model file that `model` (a file or a run directory with `step`) means, and the run
    directory to write to. Raises CheckpointError if the step is missing.
    """
    if not _is_run(model):
        return keras_file(model), output_directory(model, output, suffix)
    source = model / step / MODEL
    if not source.is_file():
        known = [str(path.parent) for path in sorted(model.rglob(f"{step}/{MODEL}"))]
        hint = f"name one of {', '.join(known[:3])}" if known else "train a model first"
        if step == "step_2_2" and (model / "step_2_1" / MODEL).is_file():
            hint = f"it was not retrained: name {model / 'step_2_1' / MODEL}, and -o"
        raise CheckpointError(f"the run directory has no finished {step}", value=model, hint=hint)
    if step == "step_2_2":
        _check_current(source.parent)
    return source, output_directory(model, output, suffix)


def _check_current(step: Path) -> None:
    """Raise CheckpointError for a finished step that was made of what is not there any more."""
    if step.name in outdated_steps(step.parent, ("step_1", "step_2_1", "step_2_2")):
        raise CheckpointError(
            f"{step.name} was made of another model or pruning than is now in the steps before it",
            value=step.parent,
            hint="prune again with --force, or name the model file and -o",
        )


def output_directory(model: Path, output: Path | str | None, suffix: str) -> Path:
    """Where `prune` (suffix -pruned) and `sparsify` (-sparse) write their results for `model`.

    Raises UsageError for the model of a finished step without `output`: anything in the step's
    folder would be lost when the step is done again.
    """
    if output is not None:
        return Path(output)
    if _is_run(model):
        return model
    source = find_checkpoint(model)
    if is_finished(source.parent):
        raise UsageError(
            "the model belongs to a finished step", value=source, hint="name a folder with -o"
        )
    return source.with_name(source.stem + suffix)


def _is_run(model: Path) -> bool:
    """Whether this is the folder of several steps, not a model or the folder of one."""
    return model.is_dir() and not (model / MODEL).is_file() and not is_saved_model(model)


def find_checkpoint(path: Path) -> Path:
    """The model, or the one model.keras or sparse.npz, that `path` is or holds."""
    if path.is_file() or is_saved_model(path):
        return path
    if not path.is_dir():
        what = "not a regular file" if path.exists() else "no such file"
        raise CheckpointError(what, value=path)
    refuse_foreign(path)
    found = [path / name for name in (MODEL, SPARSE) if (path / name).is_file()]
    if len(found) != 1:
        steps = sorted(child.name for child in path.glob("step_*"))
        hint = "give a Keras model, a sparse .npz, or a folder with one of them"
        if steps:
            hint = f"name one of its steps: {', '.join(steps)}"
        what = f"the folder holds {'two checkpoints' if found else 'no checkpoint'}"
        raise CheckpointError(what, value=path, hint=hint)
    return found[0]


def sparsity_name(sparsity: float) -> str:
    """The name of a proportion in folders and results: 0.9, and never that of another one."""
    short = f"{sparsity:g}"
    return short if float(short) == sparsity else repr(sparsity)
