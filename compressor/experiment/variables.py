"""The variables of the last trained model, as the paper's `--variables_dir` keeps them.

variables.json    which step they come from, and the sha256 of the files; written last
model.keras       the model
masks.npz         its masks, if it was pruned
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError, RunDirectoryError
from compressor.foundation import (
    LOCK,
    atomic_paths,
    json_text,
    lock_folder,
    read_json,
    sha256,
    storage_errors,
)
from compressor.runs import MASKS, MODEL
from deploy.interrupts import Uninterrupted

_MARK = "variables.json"
_KIND = "variables"
_FILES = (MODEL, MASKS)


@contextlib.contextmanager
def hold_variables(path: Path, *, force: bool = False) -> Iterator[Variables]:
    """Lock the variables in the folder `path`; RunDirectoryError where another process has."""
    with contextlib.ExitStack() as held:
        with Uninterrupted():
            with storage_errors(path):
                path.mkdir(parents=True, exist_ok=True)
            lock = lock_folder(path, "another process is using the variables", "wait for it")
            held.callback(lock.release)
            held.push(functools.partial(_remove_unused, path))
        yield Variables(path, force)


def _remove_unused(path: Path, kind: type[BaseException] | None, *_: Any) -> None:
    with Uninterrupted():
        if kind is not None and {child.name for child in path.iterdir()} <= {LOCK}:
            shutil.rmtree(path, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class Variables:
    """The folder `path`; files that `keep` did not write are overwritten only with `force`."""

    path: Path
    force: bool

    def check_writable(self) -> None:
        """Raise RunDirectoryError when `keep` would overwrite files that it did not write."""
        foreign = [name for name in _FILES if (self.path / name).exists()]
        if foreign and not self.force and self._mark() is None:
            raise RunDirectoryError(
                "the variables' folder holds a file that this program did not write",
                value=self.path / foreign[0],
                hint="choose another folder, or --force to overwrite it",
            )

    def keep(self, step: Path) -> None:
        """Make the model of the finished `step`, and its masks if any, the variables."""
        found = {name: step / name for name in _FILES}
        digests = {name: sha256(p) if p.is_file() else None for name, p in found.items()}
        mark = self._mark()
        if mark is not None and mark.get("sha256") == digests:
            return
        names = [name for name, digest in digests.items() if digest is not None]
        with atomic_paths(*(self.path / name for name in (*names, _MARK))) as (*copies, written):
            for name, copy in zip(names, copies, strict=True):
                shutil.copyfile(found[name], copy)
            written.write_text(json_text({"kind": _KIND, "step": step.name, "sha256": digests}))
        for name in set(_FILES) - set(names):
            (self.path / name).unlink(missing_ok=True)

    def model(self) -> Path:
        """The model file. Raises CheckpointError when it is missing or partly written."""
        path, mark = self.path / MODEL, self._mark()
        if not path.is_file():
            raise CheckpointError(
                "there are no variables of a trained model",
                value=self.path,
                hint="train one with -1, or name its --variables-dir",
            )
        if mark is not None and mark["sha256"].get(MODEL) != sha256(path):
            raise CheckpointError(
                "the variables were altered or only partly written",
                value=self.path,
                hint="repeat the step that trained them; it only copies its model again",
            )
        return path

    def holds(self, step: Path) -> bool:
        """Whether the variables are the model of `step`."""
        model = step / MODEL
        kept = self.path / MODEL
        return model.is_file() and kept.is_file() and sha256(model) == sha256(kept)

    def _mark(self) -> dict[str, Any] | None:
        if not (self.path / _MARK).is_file():
            return None
        mark = read_json(self.path / _MARK)
        if mark.get("kind") != _KIND or not isinstance(mark.get("sha256"), dict):
            return None
        return mark
