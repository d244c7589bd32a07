"""A run directory: one experiment, step by step, resumable after any interruption.

RUN/experiment.json     what this experiment is; another one is refused
RUN/.lock               held while a process works here
RUN/.../STEP/record.json   written last: a step with a record is finished
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError, RunDirectoryError
from compressor.foundation import (
    LOCK,
    custom_digests,
    experiment_versions,
    lock_folder,
    read_json,
    sha256,
    storage_errors,
    write_json,
)
from compressor.runs.schema import check_schema, load_schema, read_document
from deploy.files import sync
from deploy.interrupts import Uninterrupted
from deploy.text import clean

IDENTITY = "experiment.json"
RECORD = "record.json"
VERSIONS = "versions"
CUSTOM = "custom"
NEW, OLD = ".new", ".old"
_STEP = (
    r"dense|round-\d+|step_(1|2_1|2_2|3)|artefacts|break_even|prediction_time"
    r"|structure|widths-\d\.\d{6}-(weights|macs)|trial-[0-9a-f]{12}"
    r"|dense-files|pace|shift|decided-[a-z0-9.-]+"
)
_A_STEP = re.compile(_STEP)
_OURS = re.compile(
    r"experiment\.json|search\.json|results\.(json|csv)|report\.(md|html)|bench\.json|shrunk\.keras|figures"
    r"|\.crash"
    rf"|variables|seed-\d+|{_STEP}"
    rf"|\.({_STEP})\.(new|old)"
)
# A step that was not finished or is being replaced, or a file that was not written to the end.
_UNFINISHED = re.compile(
    rf"\.(?P<step>{_STEP})(?P<state>\.new|\.old)"
    r"|\.(experiment|record|results|search|report|bench|variables|model|masks|sparse|shrunk"
    r"|(figure|accuracy|mask|weights|structure|search)_\w+)"
    r"(\.\w+)?\.\w{8}\.tmp\.\w+"
)

Work = Callable[[Path], dict[str, Any]]


class RunDirectory:
    """Open `path` for one experiment, as a context manager.

    `identity` is a JSON object of everything that decides the results. Raises RunDirectoryError
    when the folder holds another experiment, naming the difference; when it holds files that are
    no run; and when another process is working in it. With `force` an earlier run in the folder
    is removed first; other files are never touched. `force` is None for a run whose steps are
    redone one by one. A folder that was created here is removed on an error before its first step.
    """

    def __init__(
        self, path: Path | str, identity: dict[str, Any], *, force: bool | None = None
    ) -> None:
        self.path = Path(path)
        self.identity = json.loads(json.dumps(identity))
        self._force = force
        self._held = contextlib.ExitStack()

    def __enter__(self) -> RunDirectory:
        try:
            with Uninterrupted():
                self._open()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        with Uninterrupted():
            self._held.__exit__(*error)

    def _open(self) -> None:
        self._refuse_foreign_folder()
        made = not self.path.exists()
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        what = "another process is working in the run directory"
        lock = lock_folder(self.path, what, "wait for it, or choose another folder")
        self._held.callback(lock.release)
        if made:
            self._held.push(self._remove_untouched)
        if self._force:
            self._clear()
        _tidy(self.path)
        self._check_identity()

    def step(
        self, name: str, work: Work, *, config: dict[str, Any] | None = None, force: bool = False
    ) -> dict[str, Any]:
        """The result of step `name`: from its record, or by doing `work` in its folder now.

        `work` gets a new folder, writes its files there and returns a JSON object. The record,
        with the sha256 of every file, is written last, and only then does the folder get the
        step's name: a step is either finished or absent, and one that is redone with `force` stays
        until the new one is finished. `config` is what decides the result beyond the identity of
        the run, the versions of the libraries and the modules of the user's own (`load_custom`),
        which are added: a finished step with others raises RunDirectoryError, which names the
        difference, unless `force`.
        """
        directory = self.path / name
        if not _A_STEP.fullmatch(directory.name):  # what it leaves could not be told from others'
            raise ValueError(f"no name of a step: {name}")
        custom = {CUSTOM: found} if (found := custom_digests()) else {}
        added = {**(config or {}), **custom, VERSIONS: experiment_versions()}
        config = json.loads(json.dumps(added))
        if (directory / RECORD).is_file() and not force:
            return self._reuse(directory, config)
        new, old = _beside(directory, NEW), _beside(directory, OLD)
        try:
            with storage_errors(directory):
                new.mkdir(parents=True)
                result = work(new)
            written = write_record(new, result, config)
            with storage_errors(directory), Uninterrupted():
                if directory.exists():
                    directory.rename(old)
                new.rename(directory)
                sync(directory.parent)
                shutil.rmtree(old, ignore_errors=True)
        except BaseException:
            with Uninterrupted():
                self._undo(directory)
            raise
        return written

    def _undo(self, directory: Path) -> None:
        """Remove what a step that failed has left."""
        shutil.rmtree(_beside(directory, NEW), ignore_errors=True)
        with contextlib.suppress(OSError):  # there is no earlier one, or it is still there
            _beside(directory, OLD).rename(directory)
        if directory.parent != self.path:
            with contextlib.suppress(OSError):  # other steps are there
                directory.parent.rmdir()

    def discard(self, name: str) -> None:
        """Remove the step `name`, if it is there."""
        directory = self.path / name
        with storage_errors(directory), Uninterrupted():
            if directory.exists():
                old = _beside(directory, OLD)
                directory.rename(old)
                shutil.rmtree(old, ignore_errors=True)

    def _reuse(self, directory: Path, config: dict[str, Any]) -> dict[str, Any]:
        # One of an earlier compressor does not say its versions.
        before = {VERSIONS: {}, **read_record(directory)["config"]}
        difference = first_difference(before, config)
        if difference:
            part = difference.partition(".")[0].partition(" ")[0]
            what = {VERSIONS: "versions", CUSTOM: "modules of your own"}.get(part, "options")
            raise done_otherwise(directory, difference, what)
        return read_step(directory)

    def _refuse_foreign_folder(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(
                "a file is in the way of the run directory", value=self.path, hint="move it away"
            )
        if not self.path.is_dir() or self._has_our_identity():
            return
        foreign = [child for child in self.path.iterdir() if not child.name.startswith(".")]
        if foreign:
            raise RunDirectoryError(
                "the folder holds other files and is no run directory",
                value=f"{self.path} ({min(child.name for child in foreign)})",
                hint="choose a new folder",
            )

    def _has_our_identity(self) -> bool:
        """Whether experiment.json is ours; an unreadable one counts if steps lie beside it."""
        path = self.path / IDENTITY
        if not path.is_file():
            return False
        try:
            return "kind" in read_json(path)
        except CheckpointError:
            return any(any(self.path.glob(steps)) for steps in ("step_*", "seed-*/step_*"))

    def _clear(self) -> None:
        for child in self.path.iterdir():
            if not _OURS.fullmatch(child.name):
                continue
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()

    def _remove_untouched(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is not None and {child.name for child in self.path.iterdir()} <= {IDENTITY, LOCK}:
            shutil.rmtree(self.path, ignore_errors=True)

    def _check_identity(self) -> None:
        path = self.path / IDENTITY
        if not path.is_file():
            write_json(path, self.identity)
            return
        try:
            stored = read_json(path)
        except CheckpointError as error:
            raise RunDirectoryError(
                "the run directory's experiment.json is damaged",
                value=path,
                hint=self._hint("start again"),
            ) from error
        difference = first_difference(stored, self.identity)
        if difference:
            raise RunDirectoryError(
                "the run directory belongs to another experiment",
                value=f"{self.path} ({difference})",
                hint=self._hint("remove that run"),
            )

    def _hint(self, what: str) -> str:
        return "choose another folder" + (f", or --force to {what}" if self._force is False else "")


def write_record(
    directory: Path, result: dict[str, Any], config: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Finish the step in `directory`: write its record, and return `result` as a reader sees it."""
    files = {
        child.name: sha256(child)
        for child in sorted(directory.iterdir())
        if child.is_file() and child.name != RECORD and not child.name.startswith(".")
    }
    record = json.loads(
        json.dumps({"config": config or {}, "result": result, "sha256": files}, allow_nan=False)
    )
    write_json(directory / RECORD, record | {"digest": _digest(record)})
    return record["result"]


def read_record(directory: Path) -> dict[str, Any]:
    """The record of the finished step in `directory`: `config`, `result` and `sha256`.

    Raises CheckpointError for a record that is damaged or was altered.
    """
    return read_document(directory / RECORD, _check_record)


def read_step(directory: Path) -> dict[str, Any]:
    """The result of the finished step in `directory`, its files checked by sha256.

    Raises CheckpointError for a damaged record, and for a file that is missing or altered.
    """
    record = read_record(directory)
    for name, digest in record["sha256"].items():
        path, found = directory / Path(name).name, None
        with contextlib.suppress(CheckpointError):
            found = sha256(path)
        if found != digest:
            raise CheckpointError(
                "a file of a finished step is missing or was altered",
                value=path,
                hint=f"remove the folder {directory} to do this step again",
            )
    result: dict[str, Any] = record["result"]
    return result


def _check_record(record: dict[str, Any]) -> None:
    """Raise CheckpointError unless this is a record, and take its digest off."""
    again = "remove the folder of the step to do it again"
    if record.pop("digest", None) != _digest(record):
        raise CheckpointError("the record of a finished step was altered", hint=again)
    check_schema(record, load_schema("record.schema.json"), "record of a finished step", "record")


def _digest(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _beside(directory: Path, suffix: str) -> Path:
    return directory.with_name(f".{directory.name}{suffix}")


def _tidy(path: Path) -> None:
    """Remove what a killed process left behind; bring back a step that it was replacing."""
    for found in list(path.rglob(".*")):
        match = _UNFINISHED.fullmatch(found.name)
        if not match or not found.exists():  # it went with its folder
            continue
        if found.is_file():
            found.unlink(missing_ok=True)
        elif match["state"] == NEW or (step := found.with_name(match["step"])).exists():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.rename(step)


def done_otherwise(step: Path, difference: str, what: str = "options") -> RunDirectoryError:
    """The error for a finished step that is to be done with something else."""
    return RunDirectoryError(
        f"this step was done before with other {what}",
        value=f"{step} ({difference})",
        hint="choose another folder, or --force to do it again",
    )


def first_difference(old: Any, new: Any, name: str = "") -> str:
    """Where two JSON values differ first, in words, or '' when they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*new, *(key for key in old if key not in new)]:
            found = first_difference(old.get(key), new.get(key), f"{name}.{key}" if name else key)
            if found:
                return found
        return ""
    return "" if old == new else f"{clean(name)} was {_short(old)}, is now {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def finished_steps(directory: Path) -> Iterator[Path]:
    """The folders of the finished steps below a run directory, in their order."""
    for record in sorted(directory.rglob(RECORD)):
        if not record.parent.name.startswith("."):
            yield record.parent
