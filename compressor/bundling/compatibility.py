"""Which artefacts run on which devices, judged by their descriptions: nothing is loaded or run.

A refused artefact is known not to work, or was never verified; one that passes may still be too
slow. The check vectors in a bundle prove the rest on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from compressor import runtimes
from compressor.bundling import devices
from compressor.bundling.code import code_target
from compressor.exporters import KERNEL_BLOCKS
from deploy.artifact import Artifact
from deploy.artifact_parts import StoredTensor
from deploy.operator_table import find_table
from deploy.profile import DeviceProfile

_BITS = {
    **{"float64": 64, "int64": 64, "uint64": 64},
    **{"float32": 32, "int32": 32, "uint32": 32},
    **{"float16": 16, "int16": 16, "uint16": 16},
    **{"int8": 8, "uint8": 8, "bool": 8, "int7": 8, "int5": 8, "int4": 4, "uint4": 4},
}
_UNPACKED_BITS = 32
"""For other types, such as that of a codebook's indices."""
_KEPT = ("dense", *KERNEL_BLOCKS)
"""Encodings that are executed as stored in the file."""


def obstacles(artifact: Artifact, profile: DeviceProfile) -> tuple[str, ...]:
    """Why the artefact cannot run on the device, one line each; empty if it can.

    Checks the format, that it was verified in the device's runtime (or in its substitute, where
    that cannot run on a host), the operators' versions, the memory of its weights (a lower bound)
    and the storage. Of C code only its weights are known before it is compiled.
    """
    if artifact.format != profile.format:
        return (f"is {artifact.format}, {profile.runtime} executes {profile.format}",)
    if artifact.format == "c":
        found = [
            _unproven(artifact, profile),
            _too_large("storage", _known_bytes(artifact), profile.storage_bytes),
        ]
        return tuple(reason for reason in found if reason)
    found = [
        _unproven(artifact, profile),
        *_missing_operators(artifact, profile),
        _too_large("memory", _resident_bytes(artifact, profile), profile.available_memory_bytes),
        _too_large("storage", artifact.bytes, profile.storage_bytes),
    ]
    if profile.gpu is not None:
        found.append(
            _too_large("memory of the GPU", memory_bytes(artifact), profile.gpu.memory_bytes)
        )
    return tuple(reason for reason in found if reason)


def choose(candidates: Sequence[Artifact], profile: DeviceProfile) -> Artifact:
    """The artefact that the device prefers, of those that run there (at least one).

    Of C code what was made for its processor comes first, then what is portable. Among equals a
    profile that optimizes for latency ranks by its order of quantisations, then what was exported
    for latency, then the width multiple it prefers, then bytes. One that optimizes for size takes
    the smallest of those whose quantisation it names.
    """
    prefer = profile.prefer

    def rank(artifact: Artifact) -> tuple[int, ...]:
        known = artifact.quantize in prefer.quantize
        order = prefer.quantize.index(artifact.quantize) if known else len(prefer.quantize)
        foreign, stored = _foreign(artifact, profile), _known_bytes(artifact)
        if prefer.optimize == "size":
            return foreign, int(not known), stored, order
        other = artifact.optimize != prefer.optimize
        return foreign, order, int(other), odd_widths(artifact, prefer.width_multiple), stored

    return min(candidates, key=rank)


def runs_on(artifact: Artifact) -> tuple[str, ...]:
    """The names of the known devices on which the artefact runs."""
    profiles = devices.known()
    if artifact.format == "c":
        profiles = tuple(profile.for_code() for profile in profiles)
    return tuple(profile.name for profile in profiles if not obstacles(artifact, profile))


def export_options(profile: DeviceProfile) -> str:
    """Those of `compressor export` for an artefact that the device executes."""
    wanted = code_target(profile) if profile.format == "c" else profile.runtime
    return f"--format {profile.format} --for {wanted}"


def memory_bytes(artifact: Artifact) -> int:
    """A lower bound of the memory it takes: the file, and the weights that are unpacked."""
    return artifact.bytes + sum(
        _unpacked_bytes(tensor) for tensor in artifact.tensors if tensor.encoding not in _KEPT
    )


def _resident_bytes(artifact: Artifact, profile: DeviceProfile) -> int:
    """The same on this device: TFLite Micro leaves the file in flash, and decodes one weight after
    another into the same memory."""
    if profile.runtime != "tflite-micro":
        return memory_bytes(artifact)
    decoded = (one for one in artifact.tensors if one.encoding not in _KEPT)
    return max(map(_unpacked_bytes, decoded), default=0)


def odd_widths(artifact: Artifact, multiple: int) -> int:
    """How many hidden layers have a width that is not a multiple of `multiple`, by their biases."""
    widths = [tensor.shape[0] for tensor in artifact.tensors if len(tensor.shape) == 1]
    return sum(width % multiple != 0 for width in widths if width != artifact.classes)


def _foreign(artifact: Artifact, profile: DeviceProfile) -> int:
    """0 unless it is C code for another processor; 1 if that is portable."""
    if artifact.format != "c":
        return 0
    target = "" if artifact.code is None else artifact.code.target
    order = (code_target(profile), "portable")
    return order.index(target) if target in order else len(order)


def _known_bytes(artifact: Artifact) -> int:
    """Of C code the weights': the file is a library for another machine."""
    if artifact.format == "c":
        return sum(tensor.bytes for tensor in artifact.tensors)
    return artifact.bytes


def _unproven(artifact: Artifact, profile: DeviceProfile) -> str:
    wanted = runtimes.find(profile.runtime).verified_in
    # A GPU is rarely at hand; on the CPU the same runtime computes the same graph.
    accepted = {wanted, "onnxruntime"} if profile.format == "onnx" else {wanted}
    proven = [f"{found.runtime} {found.version}" for found in artifact.verified]
    if accepted & {found.runtime for found in artifact.verified}:
        return ""
    where = ", ".join(proven) or "no runtime"
    return f"was verified in {where}, not in {wanted} (export it with {export_options(profile)})"


def _missing_operators(artifact: Artifact, profile: DeviceProfile) -> list[str]:
    runtime = f"{profile.runtime} {profile.runtime_version}"
    if profile.operators is not None:
        known, runtime = profile.operators, "the device"
    elif table := find_table(profile.runtime, profile.runtime_version):
        known = table.operators
    else:
        unmeasured = f"the operators of {runtime} were not measured"
        return [f"{unmeasured} (list them in the profile, as [operators])"]
    return [
        f"needs {name} {version} ({runtime} has "
        + (f"up to {known[name]})" if name in known else "none)")
        for name, version in artifact.needs.items()
        if version > known.get(name, 0)
    ]


def _too_large(what: str, needed: int, there: int) -> str:
    if needed <= there:
        return ""
    return f"needs {needed:,} bytes of {what} at least (the device has {there:,})"


def _unpacked_bytes(tensor: StoredTensor) -> int:
    bits = _BITS.get(tensor.values, _UNPACKED_BITS)
    return math.ceil(math.prod(tensor.shape) * bits / 8)
