"""Installing wheels that came in parts, without a network and without pip."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.errors import MissingEngineError, RequestError

INSTALLED = "installed"
"""The folder, beside the wheels, of what was installed from them."""
_PARTIAL = ".partial"
_NAME = re.compile(r"(?P<wheel>[^-]+-.+\.whl)(?:\.part(?P<number>[0-9]{1,6}))?")
_CHUNK = 2**20
_ZIP = b"PK\x03\x04"


def install(folder: Path) -> list[Path]:
    """Install every wheel in `folder` that is for this Python: the folders to import from.

    A wheel lies there whole, or in parts as `split --numeric-suffixes` makes them, NAME.whl.part00
    and so on, with NAME.whl.sha256 (of sha256sum) to prove it by if that is there. Each is unpacked
    once, at once, into `installed/NAME`; what lies there needs its parts no more. Raises
    RequestError for a part that is missing or incomplete, MissingEngineError if all wheels are for
    another Python.
    """
    found = {**{name: {} for name in _unpacked(folder)}, **_found(folder)}
    fitting = [name for name in found if _fits(name)]
    if found and not fitting:
        version = ".".join(map(str, sys.version_info[:2]))
        raise MissingEngineError(
            f"no wheel here is for Python {version} on {platform.machine()}", value=sorted(found)
        )
    packages = [name.partition("-")[0].lower() for name in fitting]
    if len(set(packages)) < len(packages):
        raise RequestError("two wheels of one package", value=fitting, hint="remove one")
    return [_installed(folder, name, found[name]) for name in fitting]


def _found(folder: Path) -> dict[str, dict[int, Path]]:
    """Name of each wheel -> its parts by number; that of a whole one is 0."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(folder.glob("*.whl*")):
        match = _NAME.fullmatch(path.name)
        if match:
            parts = found.setdefault(match["wheel"], {})
            if int(match["number"] or 0) in parts:
                raise RequestError("a wheel is there twice", value=path, hint="remove one of them")
            parts[int(match["number"] or 0)] = path
        elif ".whl.part" in path.name:
            raise RequestError(
                "a part of a wheel has no number", value=path, hint="split --numeric-suffixes"
            )
    return found


def _unpacked(folder: Path) -> list[str]:
    """The wheels that were installed before; their parts may be gone."""
    paths = (folder / INSTALLED).glob("*")
    return [f"{path.name}.whl" for path in paths if not path.name.endswith(_PARTIAL)]


def _fits(name: str) -> bool:
    """Whether a wheel (NAME-VERSION-PYTHON-ABI-PLATFORM.whl, PEP 427) is for this Python."""
    tags = name[: -len(".whl")].split("-")[-3:]
    pythons = {"py3", "cp{}{}".format(*sys.version_info[:2])}
    here = platform.machine().lower()
    fits = any(one == "any" or one.lower().endswith(here) for one in tags[-1].split("."))
    return len(tags) == 3 and fits and not pythons.isdisjoint(tags[0].split("."))


def _installed(folder: Path, name: str, parts: Mapping[int, Path]) -> Path:
    target = folder / INSTALLED / name[: -len(".whl")]
    if target.is_dir():
        return target
    ordered = _whole(name, parts)
    partial = target.with_name(target.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    joined = partial / name
    print(f"installing {name}", flush=True)
    digest = _join(ordered, joined)
    if not zipfile.is_zipfile(joined):  # which its last bytes say
        hint = "or a part after it is missing: copy it again"
        raise RequestError("a part of a wheel is incomplete", value=ordered[-1].name, hint=hint)
    expected = folder / f"{name}.sha256"
    try:
        if expected.is_file() and expected.read_text().split()[:1] != [digest]:
            raise ValueError(f"it does not match {expected.name}")
        with zipfile.ZipFile(joined) as archive:
            archive.extractall(partial)
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        hint = f"{error}: copy its parts again"
        raise RequestError("a wheel is damaged", value=name, hint=hint) from error
    joined.unlink()
    partial.rename(target)
    return target


def _whole(name: str, parts: Mapping[int, Path]) -> list[Path]:
    """The parts in order; all but the last have one size."""
    ordered = [parts[number] for number in sorted(parts)]
    with open(ordered[0], "rb") as file:
        first = min(parts) if file.read(len(_ZIP)) == _ZIP else 0
    for number in range(first, max(parts)):
        if number not in parts:
            raise RequestError("a part of a wheel is missing", value=f"{name}.part{number:02}")
    sizes = [part.stat().st_size for part in ordered]
    for part, size in zip(ordered, sizes[:-1]):  # noqa: B905 - Python 3.9
        if size != max(sizes):
            raise RequestError(
                "a part of a wheel is incomplete",
                value=f"{part.name} has {size:,} of {max(sizes):,} bytes",
                hint="copy it again",
            )
    return ordered


def _join(parts: Iterable[Path], joined: Path) -> str:
    """Write the parts, one after the other; the sha256 of all."""
    digest = hashlib.sha256()
    with open(joined, "wb") as file:
        for part in parts:
            with open(part, "rb") as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
    return digest.hexdigest()
