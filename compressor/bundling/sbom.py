"""What is in a bundle, and what the device must bring: an SBOM in CycloneDX 1.6, JSON.

The same bundle gives the same bytes: there is no time in it, and its serial number is made of what
it lists (RFC 9562, section 5.5).
"""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from compressor._version import __version__
from deploy.artifact import Artifact

_RUNNER = ("__main__.py", "deploy/")
_DELIVERED = "compressor:delivered"


@dataclasses.dataclass(frozen=True)
class Package:
    """A package that the artefact needs to run: `kind` pypi or npm; in the bundle or not."""

    kind: str
    name: str
    version: str | None
    delivered: bool = False


def bundle_sbom(
    name: str, artifact: Artifact, packages: Sequence[Package], members: Mapping[str, bytes]
) -> bytes:
    """The SBOM of a bundle called `name`, of `artifact`, `packages` and its other `members`."""
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    bom = Bom()
    bom.metadata.timestamp = None  # type: ignore[assignment]
    root = Component(
        name=name, type=ComponentType.APPLICATION, bom_ref="bundle", version=artifact.sha256[:16]
    )
    bom.metadata.component = root
    parts = [_model(artifact), *(_package(package) for package in packages)]
    if any(_is_runner(member) for member in members):
        parts.append(_runner(members))
    if artifact.provenance.data_sha256 is not None:
        parts.append(_data(artifact.provenance.data_sha256))
    for part in parts:
        bom.components.add(part)
    bom.register_dependency(root, [part for part in parts if part.bom_ref.value != "data"])
    seed = hashlib.sha256(b"".join(members[member] for member in sorted(members)))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, f"compressor {name} {seed.hexdigest()}")
    text: str = JsonV1Dot6(bom).output_as_string(indent=2)
    return (text + "\n").encode()


def _model(artifact: Artifact) -> Any:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    facts = {
        "format": artifact.format,
        "quantize": artifact.quantize,
        "bytes": artifact.bytes,
        "sparsity": artifact.provenance.sparsity,
        "seed": artifact.provenance.seed,
        "source-sha256": artifact.provenance.source_sha256,
        "data-sha256": artifact.provenance.data_sha256,
        "created-by": artifact.provenance.created_by,
        **{f"made-with:{name}": held for name, held in artifact.provenance.versions.items()},
    }
    return Component(
        name=artifact.file,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref="model",
        version=artifact.sha256[:16],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=artifact.sha256)],
        properties=[
            Property(name=f"compressor:{key}", value=str(value))
            for key, value in facts.items()
            if value is not None
        ],
    )


def _runner(members: Mapping[str, bytes]) -> Any:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    files = [
        Component(
            name=name,
            type=ComponentType.FILE,
            bom_ref=f"file:{name}",
            hashes=[
                HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(content).hexdigest())
            ],
        )
        for name, content in sorted(members.items())
        if _is_runner(name)
    ]
    return Component(
        name="compressor-runner",
        type=ComponentType.APPLICATION,
        bom_ref="runner",
        version=__version__,
        licenses=[_apache()],
        components=files,
    )


def _package(package: Package) -> Any:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    where = "in the bundle" if package.delivered else "on the device, not in the bundle"
    return Component(
        name=package.name,
        type=ComponentType.LIBRARY,
        bom_ref=f"{package.kind}:{package.name}",
        version=package.version,
        purl=PackageURL(package.kind, name=package.name, version=package.version),
        properties=[Property(name=_DELIVERED, value=where)],
    )


def _data(digest: str) -> Any:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        name="data set of training and verification",
        type=ComponentType.DATA,
        bom_ref="data",
        properties=[
            Property(name="compressor:data-sha256", value=digest),
            Property(name=_DELIVERED, value="not in the bundle"),
        ],
    )


def _apache() -> Any:
    from cyclonedx.model.license import DisjunctiveLicense

    return DisjunctiveLicense(id="Apache-2.0")


def _is_runner(name: str) -> bool:
    return name == _RUNNER[0] or name.startswith(_RUNNER[1])
