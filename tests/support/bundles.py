"""Bundles for tests: right ones, packed without a profile, and what an enemy makes of one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.artifact import read_artifact
from deploy.bundle import pack_members
from deploy.container import read_container, write_container
from deploy.manifest import MANIFEST, MODEL_FOLDER, SIGNATURE, VECTORS, Manifest, Member
from deploy.runner.packing import bundled_runner
from deploy.signing import PublicKey, describe_signature, signed_message


@dataclasses.dataclass(frozen=True)
class Signer:
    """A pair of keys, always the same for the same number."""

    number: int = 1

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes([self.number]) * 32)

    @property
    def public(self) -> PublicKey:
        return PublicKey(self._key.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def write_public(self, path: Path) -> Path:
        path.write_text(self.public.pem())
        return path


def bundle_of(
    artefact: Path,
    signer: Signer | None = None,
    *,
    runtime: str = "litert",
    version: str = "2.3.0",
    device: str = "test-device",
    runner: bool = True,
    counter: int | None = None,
) -> bytes:
    """A bundle of an exported artefact, with what lies beside it."""
    artifact = read_artifact(artefact)
    members = {
        MODEL_FOLDER + artefact.name: artefact.read_bytes(),
        VECTORS: artefact.with_name(f"{artefact.name}.check.npz").read_bytes(),
        "README.md": b"A bundle for tests.\n",
        "sbom.cdx.json": b"{}\n",
        **(bundled_runner() if runner else {}),
    }
    name = f"{artefact.stem}-{device}"
    manifest = Manifest(name, device, runtime, version, artifact, (), (), "tests", counter)
    pair = None if signer is None else (signer.public, signer.sign)
    return write_container(pack_members(manifest, members, pair))


def with_members(bundle: bytes, changed: Mapping[str, bytes | None]) -> bytes:
    """The bundle with other members, in a right container; None takes one away."""
    members: dict[str, bytes | None] = {**read_container(bundle), **changed}
    return write_container({name: held for name, held in members.items() if held is not None})


def with_manifest(
    bundle: bytes, change: Callable[[dict[str, Any]], Any], signer: Signer | None = None
) -> bytes:
    """The bundle with a manifest that `change` altered, signed anew by `signer` if given."""
    content = json.loads(read_container(bundle)[MANIFEST])
    change(content)
    encoded = (json.dumps(content, indent=2) + "\n").encode()
    changed = {MANIFEST: encoded}
    if signer is not None:
        signature = signer.sign(signed_message(encoded))
        changed[SIGNATURE] = describe_signature(signer.public.identifier, signature)
    return with_members(bundle, changed)


def relisted(
    bundle: bytes, changed: Mapping[str, bytes | None], signer: Signer | None = None
) -> bytes:
    """The bundle with other members, and a manifest that lists them with their right digests."""
    altered = with_members(bundle, changed)
    members = read_container(altered)
    listed = [
        dataclasses.asdict(Member.of(name, members[name]))
        for name in sorted(set(members) - {MANIFEST, SIGNATURE})
    ]

    def relist(content: dict[str, Any]) -> None:
        content["members"] = listed
        check = next((member for member in listed if member["name"] == VECTORS), None)
        if check is not None:
            content["artifact"]["vectors_sha256"] = check["sha256"]

    return with_manifest(altered, relist, signer)
