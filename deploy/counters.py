"""The highest counters of the bundles that a device has served: an old one does not come back.

FOLDER/.counters/NAME.json   for each signing key: the counter, and the sha256 of its version

They stay when a bundle is removed. They are kept by key, so that whoever stole one cannot, by a
counter that no other exceeds, keep out what another key signs. A bundle without a counter counts
as 0.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from deploy.errors import ArtifactError, BundleError
from deploy.fields import Digest, Fields, Positive, made, parse_json
from deploy.files import atomic_paths, read_regular

_FOLDER, _SUFFIX = ".counters", ".json"
_MOST_BYTES = 2**20
_PRIVATE = 0o700


@dataclasses.dataclass(frozen=True)
class _Highest:
    counter: Positive
    sha256: Digest


def raise_counter(folder: Path, name: str, key: str, counter: int | None, sha256: str) -> None:
    """Remember the counter of a version, signed by `key`, that is to be served from now on.

    Raises BundleError if a version of another sha256 had this counter or a higher one, and if the
    file of the counters is damaged. The caller holds the lock of the bundle.
    """
    path = folder / _FOLDER / (name + _SUFFIX)
    highest = _read(path)
    before = highest.get(key)
    if before is not None and before.sha256 != sha256 and (counter or 0) <= before.counter:
        shown = "no counter" if counter is None else f"counter {counter}"
        raise BundleError(
            "not newer than what was served here",
            value=f"{shown}, the highest of {name} was {before.counter}",
            hint="deploy --rollback goes back to the previous version; to serve this one, pack it "
            "again: package --sign counts on",
        )
    if counter is None or before == _Highest(counter, sha256):
        return
    highest[key] = _Highest(counter, sha256)
    content = {of: dataclasses.asdict(found) for of, found in sorted(highest.items())}
    path.parent.mkdir(_PRIVATE, exist_ok=True)
    with atomic_paths(path) as (temporary,):
        temporary.write_bytes(json.dumps(content).encode())


def _read(path: Path) -> dict[str, _Highest]:
    if not path.exists():
        return {}
    try:
        content = parse_json(read_regular(path, _MOST_BYTES), path.name)
        fields = Fields({"keys": content}, path.name)
        return fields.mapping("keys", lambda each, key: each.one(key, made(_Highest)))
    except ArtifactError as error:
        raise BundleError(
            "the counters of the bundle are damaged",
            value=f"{path} ({error.what})",
            hint="remove the file; any signed version is then taken once",
        ) from error
