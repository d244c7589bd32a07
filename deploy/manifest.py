"""What a bundle holds: its member manifest.json, an object of exactly these fields.

schema      {name: "compressor-bundle", version: 1}
name        of the bundle, without a suffix
device      the profile that it was packed for
runtime     {name, version}: what executes it there (litert, tflite-runtime, tflite-micro,
            onnxruntime, cuda, onnxruntime-web; c: compiled code), and the version that the profile
            says is there
artifact    the description of the artefact, as `deploy.artifact` says: inputs and outputs,
            preprocessing, labels, accuracy if it was verified, provenance
latency     as measured by `compressor bench`, a list of: runtime, version, cpu, system, threads,
            batch, p50_ms, p90_ms, p99_ms (of one batch), samples
members     of every other member but the signature: name, sha256, bytes; sorted by name
created_by  the program that packed it
counter     of a signed bundle, an integer from 1: a device serves no version of this name and key
            whose counter is not higher; left out where there is none

It has one form only: `Manifest.encode` of what was read gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from deploy.artifact import Artifact
from deploy.container import MOST_BYTES, MOST_MEMBERS, is_member_name
from deploy.errors import BundleError
from deploy.fields import Fields, NotNegative, Positive, made, parse_json

MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
VECTORS = "check.npz"
MODEL_FOLDER = "model/"
SCHEMA = {"name": "compressor-bundle", "version": 1}

MOST_MANIFEST_BYTES = 8 * 2**20
_MOST_LATENCIES = 1000

Content = bytes
"""The content of a file; `bytes` is a field of `Member`."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A file of the bundle."""

    name: str
    sha256: str
    bytes: int

    @classmethod
    def of(cls, name: str, content: Content) -> Member:
        return cls(name, hashlib.sha256(content).hexdigest(), len(content))

    @classmethod
    def read(cls, fields: Fields) -> Member:
        return cls(
            fields.text("name"), fields.digest("sha256"), fields.integer("bytes", 0, MOST_BYTES)
        )


@dataclasses.dataclass(frozen=True)
class Latency:
    """What `compressor bench` measured of the artefact; times in milliseconds of one batch."""

    runtime: str
    version: str
    cpu: str
    system: str
    threads: Positive
    batch: Positive
    p50_ms: NotNegative
    p90_ms: NotNegative
    p99_ms: NotNegative
    samples: Positive


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a bundle holds; the module says what the fields mean."""

    name: str
    device: str
    runtime: str
    runtime_version: str
    artifact: Artifact
    latency: tuple[Latency, ...]
    members: tuple[Member, ...]
    created_by: str
    counter: int | None = None

    @property
    def model(self) -> str:
        """The name of the member that is the artefact."""
        return MODEL_FOLDER + self.artifact.file

    def describe(self) -> dict[str, Any]:
        described = {
            "schema": dict(SCHEMA),
            "name": self.name,
            "device": self.device,
            "runtime": {"name": self.runtime, "version": self.runtime_version},
            "artifact": self.artifact.describe(),
            "latency": [dataclasses.asdict(found) for found in self.latency],
            "members": [dataclasses.asdict(member) for member in self.members],
            "created_by": self.created_by,
        }
        return described if self.counter is None else {**described, "counter": self.counter}

    def encode(self) -> bytes:
        """The bytes of manifest.json."""
        return (json.dumps(self.describe(), indent=2, allow_nan=False) + "\n").encode()

    @classmethod
    def parse(cls, content: bytes) -> Manifest:
        """Read an untrusted manifest.

        Raises ArtifactError for a field that is missing, unknown, of the wrong type or out of
        range, and for another schema; BundleError for bytes that `encode` would not write.
        """
        if len(content) > MOST_MANIFEST_BYTES:
            raise BundleError("the manifest is too large", value=f"{len(content):,} bytes")
        found = parse_json(content, MANIFEST)
        if isinstance(found, dict):
            found = {"counter": None, **found}
        fields = Fields(found, "manifest")
        fields.schema("schema", SCHEMA, "bundle")
        runtime, version = fields.one(
            "runtime", lambda inner: (inner.text("name"), inner.text("version"))
        )
        manifest = cls(
            name=fields.text("name"),
            device=fields.text("device"),
            runtime=runtime,
            runtime_version=version,
            artifact=Artifact.parse(fields.object("artifact")),
            latency=fields.objects("latency", made(Latency), _MOST_LATENCIES),
            members=fields.objects("members", Member.read, MOST_MEMBERS),
            created_by=fields.text("created_by"),
            counter=fields.optional("counter", fields.integer, 1),
        )
        fields.done()
        if not is_member_name(manifest.name) or "/" in manifest.name:
            raise BundleError("manifest.name is not a file name", value=manifest.name)
        if manifest.encode() != content:
            raise BundleError("the manifest is not in canonical form")
        return manifest

    def check(self, members: Mapping[str, bytes]) -> None:
        """Check all members of the bundle, name -> content, against the manifest.

        Raises BundleError for a member that is missing, unlisted or altered, and if the artefact
        or its check vectors are not among them.
        """
        listed = {member.name: member for member in self.members}
        if list(listed) != sorted(listed) or len(listed) < len(self.members):
            raise BundleError("the manifest's members are not sorted, or one is listed twice")
        there = set(members) - {MANIFEST, SIGNATURE}
        for what, names in (
            ("the manifest lists a member that the bundle lacks", set(listed) - there),
            ("the bundle has a member that its manifest does not list", there - set(listed)),
            ("the bundle lacks a member", {self.model, VECTORS} - there),
        ):
            if names:
                raise BundleError(what, value=min(names))
        for name, member in listed.items():
            found = Member.of(name, members[name])
            if found != member:
                raise BundleError(
                    "a member differs from the manifest",
                    value=f"{name} has sha256 {found.sha256}, the manifest says {member.sha256}",
                )
        model, vectors = listed[self.model], listed[VECTORS]
        if (model.bytes, model.sha256) != (self.artifact.bytes, self.artifact.sha256):
            raise BundleError(
                "the artefact is not the described one",
                value=f"sha256 {model.sha256}, described is {self.artifact.sha256}",
            )
        if vectors.sha256 != self.artifact.vectors_sha256:
            raise BundleError(
                "the check vectors are of another artefact",
                value=f"sha256 {vectors.sha256}, described is {self.artifact.vectors_sha256}",
            )
