"""Packing an artefact for a device, unless it cannot run there."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor._version import __version__
from compressor.bundling.keys import read_private_key
from compressor.bundling.readme import bundle_readme
from compressor.errors import RunDirectoryError, UsageError
from compressor.foundation import deploy_errors, storage_errors, write_bytes
from deploy.artifact import MOST_VECTORS_BYTES, VECTORS_SUFFIX, Artifact, read_artifact
from deploy.bundle import pack_members
from deploy.container import (
    MOST_BYTES,
    is_bundle_name,
    is_member_name,
    read_container,
    write_container,
)
from deploy.errors import DeployError
from deploy.fields import LARGEST_INTEGER
from deploy.files import read_regular, sync
from deploy.interrupts import Uninterrupted
from deploy.manifest import (
    MANIFEST,
    MODEL_FOLDER,
    MOST_MANIFEST_BYTES,
    SIGNATURE,
    VECTORS,
    Latency,
    Manifest,
)
from deploy.profile import DeviceProfile
from deploy.runner.packing import bundled_runner
from deploy.vectors import CheckVectors

README, SBOM = "README.md", "sbom.cdx.json"


def package(
    artefacts: Sequence[Path | str],
    device: str | Path,
    output: Path | str,
    *,
    name: str | None = None,
    sign: Path | str | None = None,
    counter: int | None = None,
    latencies: Path | str | None = None,
    web_runtime: Path | str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Pack the one of `artefacts` that `device` prefers as the bundle `output`.

    `artefacts` are exported files with their descriptions and check vectors beside them; `device`
    is the name of a profile or a TOML file. For a device whose runtime is onnxruntime-web the
    bundle is a folder for a web server, and `web_runtime` may be the tarball of that package.
    `name` is the bundle's name on the device, where it replaces an earlier one; by default it is
    made of the artefact's and the device's. `sign` is a private key of `keygen`; `counter`, from 1,
    orders the signed bundles of a name: a device takes none whose counter is not higher than those
    that it has served; by default it is the time, in seconds since 1970. `latencies` is a
    bench.json whose measurements of the artefact go into the manifest: packing measures nothing,
    and the same artefact gives the same bytes, if signed with the same counter.

    Returns a JSON object: path, bytes, sha256, device, artefact, runtime, signed_by, counter (null
    if not signed), left_out (file and why), members. Raises UsageError where none can run there,
    with what each lacks and the devices it runs on; BundleError for damaged files;
    RunDirectoryError where `output` exists, unless `force`; MissingRuntimeError where
    onnxruntime-web is not available.
    """
    from compressor.bundling import devices
    from compressor.bundling.sbom import bundle_sbom

    profile = devices.find_device(device)
    target = Path(output)
    _check_target(target, profile, force)
    if name is not None and not is_bundle_name(name):
        hint = "plain letters, digits and _.+=@- make a name, with a letter, digit or _ first"
        raise UsageError("a bundle is not called that", value=repr(name), hint=hint)
    key = None if sign is None else read_private_key(sign)
    counter = _counter(counter, signed=key is not None)
    described = _read_all([Path(path) for path in artefacts])
    path, left_out = _chosen(described, profile)
    artifact = described[path]
    members, kind = _members(path, artifact, profile, web_runtime)
    manifest = Manifest(
        name=name or f"{path.stem}-{profile.name}",
        device=profile.name,
        runtime=profile.runtime,
        runtime_version=profile.runtime_version,
        artifact=artifact,
        latency=() if latencies is None else _latencies(Path(latencies), artifact),
        members=(),
        created_by=f"compressor {__version__}",
        counter=counter,
    )
    members[README] = bundle_readme(manifest, kind)
    members[SBOM] = bundle_sbom(manifest.name, artifact, profile, members)
    with deploy_errors():
        packed = pack_members(manifest, members, key)
        content = write_container(packed)
    if len(content) > profile.storage_bytes:
        raise UsageError(
            f"does not fit on {profile.name}",
            value=f"the bundle has {len(content):,} bytes, the storage {profile.storage_bytes:,}",
        )
    if kind == "browser":
        _write_folder(target, packed)
    else:
        write_bytes(target, content)
    return {
        "path": str(target),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "name": manifest.name,
        "device": profile.name,
        "artefact": str(path),
        "artefact_bytes": artifact.bytes,
        "runtime": {"name": profile.runtime, "version": profile.runtime_version},
        "signed_by": None if key is None else key[0].identifier,
        "counter": counter,
        "left_out": [{"file": str(file), "why": why} for file, why in left_out.items()],
        "members": len(packed),
    }


def _counter(given: int | None, *, signed: bool) -> int | None:
    if given is None:
        return int(time.time()) if signed else None
    if not signed:
        hint = "--sign KEY signs it"
        raise UsageError("a counter that is not signed proves nothing", value=given, hint=hint)
    if not 1 <= given <= LARGEST_INTEGER:
        raise UsageError(f"a counter is from 1 to {LARGEST_INTEGER}", value=given)
    return given


def is_folder(profile: DeviceProfile) -> bool:
    """Whether a bundle for this device is a folder for a web server."""
    return profile.runtime == "onnxruntime-web"


def _read_all(paths: Sequence[Path]) -> dict[Path, Artifact]:
    if not paths:
        raise UsageError("there is nothing to pack", value="no artefact")
    found = {}
    for path in paths:
        if path.is_dir():
            raise UsageError("a folder is no artefact", value=path, hint="name the files in it")
        if not path.is_file():
            raise UsageError("no such file", value=path)
        with deploy_errors():
            found[path] = read_artifact(path)
        if not is_member_name(path.name):
            hint = "export it under a name of plain letters, digits and _.-"
            raise UsageError("a bundle cannot hold a file of this name", value=path.name, hint=hint)
    if len(set(map(Path.resolve, paths))) < len(paths):
        raise UsageError("an artefact is named twice", value=", ".join(map(str, paths)))
    return found


def _chosen(
    described: Mapping[Path, Artifact], profile: DeviceProfile
) -> tuple[Path, dict[Path, str]]:
    """The artefact to pack, and why each of the others is not."""
    from compressor.bundling import compatibility

    obstacles = {path: compatibility.obstacles(found, profile) for path, found in described.items()}
    able = {path: found for path, found in described.items() if not obstacles[path]}
    if not able:
        raise UsageError(
            f"cannot run on {profile.name}",
            value="; ".join(f"{path}: {', '.join(obstacles[path])}" for path in described),
            hint=_what_can(described, profile),
        )
    best = compatibility.choose(tuple(able.values()), profile)
    chosen = next(path for path, found in able.items() if found is best)
    why = {path: ", ".join(obstacles[path]) or f"{chosen.name} is preferred" for path in described}
    return chosen, {path: reason for path, reason in why.items() if path != chosen}


def _what_can(described: Mapping[Path, Artifact], profile: DeviceProfile) -> str:
    from compressor.bundling import compatibility

    places = {path: compatibility.runs_on(found) for path, found in described.items()}
    found = "; ".join(
        f"{path.name} runs on {', '.join(names)}" for path, names in places.items() if names
    )
    wanted = f"export one for it with --for {profile.runtime} --format {profile.format}"
    return f"{found}; {wanted}" if found else wanted


def _members(
    path: Path, artifact: Artifact, profile: DeviceProfile, web_runtime: Path | str | None
) -> tuple[dict[str, bytes], str]:
    """The members but for README and SBOM, and the kind of the bundle (see `bundle_readme`)."""
    with deploy_errors():
        model = read_regular(path, artifact.bytes)
        beside = path.with_name(path.name + VECTORS_SUFFIX)
        vectors = read_regular(beside, MOST_VECTORS_BYTES)
        parsed = CheckVectors.parse(vectors, beside)
    members = {MODEL_FOLDER + artifact.file: model, VECTORS: vectors}
    if is_folder(profile):
        from compressor.bundling.browser import site_members

        tarball = None if web_runtime is None else Path(web_runtime)
        return members | site_members(artifact, model, parsed, tarball=tarball), "browser"
    if web_runtime is not None:
        raise UsageError("only a bundle for browsers takes onnxruntime-web", value=profile.name)
    if not profile.pythons:
        return members, "app"
    return members | bundled_runner(), "python"


def _latencies(path: Path, artifact: Artifact) -> tuple[Latency, ...]:
    """The artefact's latencies in a bench.json: its newest sound row of each setting."""
    from compressor.runs import read_bench

    if not path.is_file():
        raise UsageError("no such file", value=path)
    found: dict[tuple[str, int, int], Latency] = {}
    for run in read_bench(path)["runs"]:
        digests = [measured["sha256"] for measured in run["artefacts"]]
        names = [number for number, digest in enumerate(digests) if digest == artifact.sha256]
        for row in run["rows"]:
            sound = row["status"] == "right" and row["transfer"] == "copies"
            said = row.get("latency_ms") and row.get("version")
            if row["artefact"] in names and sound and said:
                setting = (row["runtime"], row["threads"], row["batch"])
                found[setting] = _latency(run["machine"], row)
    if not found:
        value = f"{path} holds nothing right of sha256 {artifact.sha256[:16]}"
        hint = "run compressor bench on it"
        raise UsageError("this bench.json has not measured the artefact", value=value, hint=hint)
    return tuple(found[setting] for setting in sorted(found))


def _latency(machine: Mapping[str, Any], row: Mapping[str, Any]) -> Latency:
    times = row["latency_ms"]
    return Latency(
        runtime=row["runtime"],
        version=row["version"],
        cpu=machine["cpu"],
        system=machine["system"],
        threads=row["threads"],
        batch=row["batch"],
        **{f"{name}_ms": times[name]["value"] for name in ("p50", "p90", "p99")},
        samples=times["samples"],
    )


def _check_target(target: Path, profile: DeviceProfile, force: bool) -> None:
    """Refuse an output that exists, unless `force` and it is a bundle of the same kind."""
    if not (target.exists() or target.is_symlink()):
        return
    if not force:
        hint = "choose another name, or --force to replace it"
        raise RunDirectoryError("the bundle is there already", value=target, hint=hint)
    folder = is_folder(profile)
    if target.is_symlink() or target.is_dir() != folder or not (folder or target.is_file()):
        kind = "folder" if folder else "file"
        raise RunDirectoryError(f"a bundle for {profile.name} is a {kind}", value=target)
    if not (_is_our_folder(target) if folder else _is_container(target)):
        what = "this is no bundle, and is not replaced"
        raise RunDirectoryError(what, value=target, hint="name another")


def _is_container(path: Path) -> bool:
    """Whether a file is a bundle or a runner, which may be replaced."""
    try:
        read_container(read_regular(path, MOST_BYTES))
    except DeployError:
        return False
    return True


def _is_our_folder(folder: Path) -> bool:
    """Whether a folder is empty, or holds a bundle and nothing that is not listed in it."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    if not there:
        return True
    try:
        manifest = Manifest.parse(read_regular(folder / MANIFEST, MOST_MANIFEST_BYTES))
    except DeployError:
        return False
    return there <= {MANIFEST, SIGNATURE, *(member.name for member in manifest.members)}


def _write_folder(target: Path, members: Mapping[str, bytes]) -> None:
    """Write a folder that any web server may read, beside its place, and rename it.

    An existing one is moved away first, and back if the renaming fails. Interrupts wait.
    """
    with storage_errors(target), Uninterrupted():
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        made, old = work / "new", work / "old"
        try:
            made.mkdir()
            for name, content in members.items():
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(0o644)
                sync(path)
            for folder in (made, *(path for path in made.rglob("*") if path.is_dir())):
                folder.chmod(0o755)
            if target.is_dir():
                target.rename(old)
            made.rename(target)
            sync(target.parent)
        finally:
            if old.is_dir() and not target.exists():
                old.rename(target)
            shutil.rmtree(work, ignore_errors=True)
