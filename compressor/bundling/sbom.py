"""The SBOM of a bundle, and of what the device must bring: CycloneDX 1.6, JSON.

It is reproducible: without a timestamp, and with a serial number made of what it lists (RFC 9562,
section 5.5).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from compressor._version import __version__
from deploy.artifact import Artifact
from deploy.profile import DeviceProfile

_DELIVERED = "compressor:delivered"
_PACKAGES = {
    "litert": ("pypi", "ai-edge-litert"),
    "tflite-runtime": ("pypi", "tflite-runtime"),
    "tflite-micro": ("pypi", "tflite-micro"),
    "onnxruntime": ("pypi", "onnxruntime"),
    "cuda": ("pypi", "onnxruntime-gpu"),
    "tensorrt": ("pypi", "onnxruntime-gpu"),
    "onnxruntime-web": ("npm", "onnxruntime-web"),
}
"""Runtime -> package registry, and the package's name there."""


def bundle_sbom(
    name: str, artifact: Artifact, profile: DeviceProfile, members: Mapping[str, bytes]
) -> bytes:
    """The SBOM of the bundle `name`: `artifact`, what `profile` runs it with, other `members`."""
    bom = Bom()
    bom.metadata.timestamp = None  # type: ignore[assignment]
    root = Component(
        name=name, type=ComponentType.APPLICATION, bom_ref="bundle", version=artifact.sha256[:16]
    )
    bom.metadata.component = root
    parts = [_model(artifact), *_packages(profile)]
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


def _model(artifact: Artifact) -> Component:
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
        hashes=[_sha256(artifact.sha256)],
        properties=[
            Property(name=f"compressor:{key}", value=str(value))
            for key, value in facts.items()
            if value is not None
        ],
    )


def _runner(members: Mapping[str, bytes]) -> Component:
    files = [
        Component(
            name=name,
            type=ComponentType.FILE,
            bom_ref=f"file:{name}",
            hashes=[_sha256(hashlib.sha256(content).hexdigest())],
        )
        for name, content in sorted(members.items())
        if _is_runner(name)
    ]
    return Component(
        name="compressor-runner",
        type=ComponentType.APPLICATION,
        bom_ref="runner",
        version=__version__,
        licenses=[DisjunctiveLicense(id="Apache-2.0")],
        components=files,
    )


def _packages(profile: DeviceProfile) -> list[Component]:
    """What runs the artefact, nothing for C code; only onnxruntime-web is in the bundle."""
    if profile.runtime not in _PACKAGES:
        return []
    kind, runtime = _PACKAGES[profile.runtime]
    needed = {runtime: profile.runtime_version}
    if profile.pythons and kind == "pypi":
        needed["numpy"] = profile.numpy
    where = "in the bundle" if kind == "npm" else "on the device, not in the bundle"
    return [
        Component(
            name=name,
            type=ComponentType.LIBRARY,
            bom_ref=f"{kind}:{name}",
            version=version,
            purl=PackageURL(kind, name=name, version=version),
            properties=[Property(name=_DELIVERED, value=where)],
        )
        for name, version in needed.items()
    ]


def _data(digest: str) -> Component:
    return Component(
        name="data set of training and verification",
        type=ComponentType.DATA,
        bom_ref="data",
        properties=[
            Property(name="compressor:data-sha256", value=digest),
            Property(name=_DELIVERED, value="not in the bundle"),
        ],
    )


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _is_runner(name: str) -> bool:
    return name == "__main__.py" or name.startswith("deploy/")
