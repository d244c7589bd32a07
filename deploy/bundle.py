"""A bundle: an artefact with all that a device needs to run and to trust it.

A bundle is one file, a canonical container (`deploy.container`), or, for a web server, a folder of
the same members. The manifest lists the sha256 of every member, the signature is that of the
manifest; so one signature vouches for every byte.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.artifact import Artifact
from deploy.container import MOST_BYTES, MOST_MEMBERS, read_container, write_container
from deploy.errors import ArtifactError, BundleError
from deploy.files import read_regular
from deploy.manifest import MANIFEST, SIGNATURE, VECTORS, Manifest, Member
from deploy.signing import (
    PublicKey,
    check_signature,
    describe_signature,
    parse_signature,
    signed_message,
)

if TYPE_CHECKING:
    from deploy.vectors import CheckVectors

Sign = Callable[[bytes], bytes]
"""Makes the Ed25519 signature, 64 bytes, of a message."""


@dataclasses.dataclass(frozen=True)
class Bundle:
    """A bundle whose members are those of its manifest.

    `sha256` and `size` are of the whole file. `signed_by` is the trusted key by which it is signed;
    None where no key was asked for: then nobody vouches for it.
    """

    manifest: Manifest
    members: Mapping[str, bytes]
    sha256: str
    size: int
    signed_by: PublicKey | None

    @property
    def artifact(self) -> Artifact:
        return self.manifest.artifact

    @property
    def model(self) -> bytes:
        return self.members[self.manifest.model]

    @property
    def signer(self) -> str | None:
        return self.signed_by.identifier if self.signed_by else None

    @property
    def signed(self) -> bool:
        """Whether there is a signature, by whatever key."""
        return SIGNATURE in self.members

    def vectors(self) -> CheckVectors:
        """The check vectors; raises BundleError where the member is none."""
        from deploy.vectors import CheckVectors

        try:
            return CheckVectors.parse(self.members[VECTORS], f"{VECTORS} of {self.manifest.name}")
        except ArtifactError as error:
            raise BundleError(error.what, value=error.value, hint=error.hint) from error


def pack_members(
    manifest: Manifest,
    members: Mapping[str, bytes],
    sign: tuple[PublicKey, Sign] | None = None,
) -> dict[str, bytes]:
    """All members of a bundle: `members`, the manifest with their digests, and the signature.

    `members` of `manifest` are replaced by those that are given. The same arguments give the same
    bytes: Ed25519 signatures are deterministic.
    """
    listed = tuple(Member.of(name, members[name]) for name in sorted(members))
    manifest = dataclasses.replace(manifest, members=listed)
    manifest.check(members)
    packed = {**members, MANIFEST: manifest.encode()}
    if sign is not None:
        key, make = sign
        signature = make(signed_message(packed[MANIFEST]))
        packed[SIGNATURE] = describe_signature(key.identifier, signature)
    return packed


def open_bundle(path: Path | str, keys: Sequence[PublicKey] | None) -> Bundle:
    """Read a bundle, a file or a folder, that nobody vouches for, and check all that does not run.

    It is read once; what is checked is what the `Bundle` holds. With `keys`, a signature by one of
    them is required, and none is enough where the list is empty; None asks for no signature: then
    only the integrity is proven. Nothing is executed, written or unpacked. Raises BundleError, in
    one line, for a container that is not canonical, a manifest of another form or schema, members
    that are not those of the manifest, and for a signature that is missing, by another key, or not
    of this bundle.
    """
    path = Path(path)
    try:
        if path.is_dir():
            members = _read_folder(path)
            content = write_container(members)
        else:
            content = read_regular(path, MOST_BYTES)
            members = read_container(content)
        return _checked(members, content, keys)
    except (ArtifactError, BundleError) as error:
        raise BundleError(error.what, value=_where(path, error), hint=error.hint) from error


def _where(path: Path, error: BundleError | ArtifactError) -> str:
    shown = "" if error.value is None else str(error.value)
    return shown if shown.startswith(str(path)) else f"{path} ({shown})" if shown else str(path)


def _checked(
    members: Mapping[str, bytes], content: bytes, keys: Sequence[PublicKey] | None
) -> Bundle:
    if MANIFEST not in members:
        raise BundleError("this is no bundle", value=f"it has no {MANIFEST}")
    signature = members.get(SIGNATURE)
    # The signature comes first: what is not vouched for is not even parsed.
    key = None
    if keys is not None:
        key = check_signature(signature, members[MANIFEST], keys)
    elif signature is not None:
        parse_signature(signature)
    manifest = Manifest.parse(members[MANIFEST])
    manifest.check(members)
    digest = hashlib.sha256(content).hexdigest()
    return Bundle(manifest, members, digest, len(content), key)


def _read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by their paths in it; raises BundleError for links and the like."""
    members: dict[str, bytes] = {}
    total = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BundleError("a bundle holds regular files only", value=name)
        if path.is_dir():
            continue
        members[name] = read_regular(path, MOST_BYTES - total)
        total += len(members[name])
        if len(members) > MOST_MEMBERS:
            raise BundleError("the folder has too many files", value=f"more than {MOST_MEMBERS:,}")
    return members
