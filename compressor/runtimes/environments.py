"""Separate environments for runtimes that do not work with this Python or its numpy.

An environment is a venv in the user's cache with pinned packages only. Its marker is written last:
without it, an installation was interrupted, and the folder is made anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressor.errors import MissingRuntimeError, UsageError
from compressor.foundation import storage_errors, temporary_folder, write_json
from deploy.errors import RequestError
from deploy.files import in_home
from deploy.interrupts import Uninterrupted

CACHE_VARIABLE = "COMPRESSOR_CACHE"
"""Overrides the cache folder, by default ~/.cache/compressor."""

_MARKER = ".ready"
_INSTALL_SECONDS = 900
_PROBE_SECONDS = 60
_PROBE = "import ensurepip, json, sys, venv; print(json.dumps(list(sys.version_info[:2])))"

Version = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Environment:
    """What a runtime's environment holds, and the machines and Pythons that it can be made on."""

    name: str
    """of the runtime"""
    version: str
    requirements: tuple[tuple[str, tuple[str, ...]], ...]
    """each package==version with the sha256s of its wheels"""
    pythons: tuple[Version, ...]
    """which there are wheels for, the preferred first"""
    machines: tuple[tuple[str, str], ...]
    """system and machine, as `platform` names them"""
    check: str
    """a Python program that fails where the runtime does not work"""
    group: str = "runtimes"
    """the folder in the cache"""
    installer: str = ""
    """the command that makes it, by default `compressor runtimes install NAME`"""

    @property
    def folder(self) -> Path:
        return cache_folder() / self.group / f"{self.name}-{self.version}"

    def python(self) -> Path:
        """The environment's Python. Raises MissingRuntimeError where there is none, saying why."""
        if reason := self.missing():
            hint = self.installer or f"compressor runtimes install {self.name}"
            raise MissingRuntimeError(f"{self.name} {reason}", value=self.folder, hint=hint)
        return self._python()

    def missing(self) -> str:
        """Why the environment cannot be used; an empty string where it can."""
        try:
            if not (self.folder / _MARKER).is_file():
                return "is not installed"
        except UsageError as error:
            return f"is not installed ({error.what})"
        # The Python that it links to may have been removed since.
        return "" if self._python().exists() else "has lost its Python"

    def install(self) -> None:
        """Make the environment, unless it exists; safe for several processes at once.

        Raises MissingRuntimeError where no wheel fits this machine or any Python found, and where
        the packages cannot be fetched or are not those pinned; StorageError for a full disk.
        """
        here = (platform.system(), platform.machine())
        if here not in self.machines:
            raise MissingRuntimeError(
                f"there is no {self.name} for this machine",
                value=" ".join(here),
                hint=f"there is one for {', '.join(map(' '.join, self.machines))}",
            )
        with cache_lock(self.folder):
            if self.missing():
                try:
                    self._make()
                except BaseException:
                    with Uninterrupted():
                        shutil.rmtree(self.folder, ignore_errors=True)
                    raise

    def _make(self) -> None:
        base = self._base_python()
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self._run([base, "-I", "-m", "venv", str(self.folder)], "its environment cannot be made")
        requirements = self.folder / "requirements.txt"
        requirements.write_text(self.requirements_text())
        self._run(self.pip_command(requirements), "its packages cannot be installed")
        self._run([str(self._python()), "-I", "-c", self.check], "it does not work here")
        write_json(self.folder / _MARKER, {"packages": [name for name, _ in self.requirements]})

    def requirements_text(self) -> str:
        """What pip installs: versions, and the hashes of the only files that it may take."""
        return "".join(
            f"{name} {' '.join(f'--hash=sha256:{digest}' for digest in digests)}\n"
            for name, digests in self.requirements
        )

    def pip_command(self, requirements: Path) -> list[str]:
        options = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-input"]
        quiet = ["--quiet", "--disable-pip-version-check", "--no-cache-dir"]
        pip = [str(self._python()), "-I", "-m", "pip", "install"]
        return [*pip, *options, *quiet, "--requirement", str(requirements)]

    def _base_python(self) -> str:
        """A Python that wheels fit. Raises MissingRuntimeError, naming those that were tried."""
        tried = []
        for candidate in _candidates(self.pythons):
            version = _version_of(candidate)
            if version in self.pythons:
                return candidate
            tried.append(f"{candidate} ({'.'.join(map(str, version)) if version else 'no venv'})")
        wanted = ", ".join(".".join(map(str, version)) for version in self.pythons)
        raise MissingRuntimeError(
            f"no {self.name} wheel fits a Python here",
            value=f"tried {', '.join(tried)}",
            hint=f"install Python {wanted}, with venv, so that it is on the PATH",
        )

    def _run(self, command: list[str], what: str) -> None:
        try:
            # Interrupted, pip is killed, and leaves its temporary files.
            with temporary_folder("compressor-install-") as folder:
                done = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    timeout=_INSTALL_SECONDS,
                    check=False,
                    env={**os.environ, "TMPDIR": str(folder)},
                )
        except subprocess.TimeoutExpired as error:
            raise MissingRuntimeError(
                f"{self.name} cannot be installed, {what}", value=f"no end after {error.timeout} s"
            ) from error
        if done.returncode:
            raise MissingRuntimeError(
                f"{self.name} cannot be installed, {what}",
                value=_last_error(done.stderr or done.stdout),
                hint="see that the package index can be reached, and run it again",
            )

    def _python(self) -> Path:
        return self.folder / "bin" / "python"


def cache_folder() -> Path:
    """This program's cache; a relative XDG_CACHE_HOME is ignored, as the XDG standard says.

    Raises UsageError where it would be in a home directory, and there is none.
    """
    own = os.environ.get(CACHE_VARIABLE, "")
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not own and shared.is_absolute():
        return shared / "compressor"
    try:
        return in_home(own or "~/.cache/compressor").absolute()
    except RequestError as error:
        hint = f"set HOME, or {CACHE_VARIABLE} to a folder"
        raise UsageError(error.what, value=error.value, hint=hint) from error


@contextlib.contextmanager
def cache_lock(path: Path) -> Iterator[None]:
    """Hold the lock of `path`, whose parent is made. Raises StorageError, also for its body."""
    import filelock

    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_name(f".{path.name}.lock")):
            yield


def _candidates(versions: tuple[Version, ...]) -> Iterator[str]:
    """Pythons to try: this one's base, then those on the PATH."""
    yield getattr(sys, "_base_executable", None) or sys.executable
    for version in versions:
        if found := shutil.which(f"python{version[0]}.{version[1]}"):
            yield found


def _version_of(python: str) -> Version | None:
    """The version of a Python that can make environments; None for anything else."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", _PROBE],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        version: Any = json.loads(done.stdout)
        return int(version[0]), int(version[1])
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def _last_error(text: str) -> str:
    """The line of pip's output that says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"error|.*\berror:", line, re.IGNORECASE)]
    return (errors or lines or ["nothing was said"])[-1][:500]
