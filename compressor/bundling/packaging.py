"""Packing an artefact for a device, unless it cannot run there."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor._version import __version__
from compressor.bundling.code import BUILT, MAKEFILE, browser_code, code_folder, firmware_project
from compressor.bundling.keys import read_private_key
from compressor.bundling.latencies import latencies_of, latency_notes
from compressor.bundling.packables import Packable, read_packables
from compressor.bundling.readme import bundle_readme
from compressor.data import Dataset
from compressor.errors import RunDirectoryError, UsageError
from compressor.foundation import deploy_errors, several, storage_errors, write_bytes
from compressor.models import InputSize
from deploy.artifact import Artifact
from deploy.bundle import pack_members
from deploy.container import (
    MOST_BYTES,
    is_bundle_name,
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
    Manifest,
    Member,
)
from deploy.profile import DeviceProfile
from deploy.runner.packing import bundled_runner
from deploy.text import clean

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
    data: Dataset | None = None,
    labels: Sequence[str] | None = None,
    input_size: InputSize | None = None,
    input_range: tuple[float, float] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Pack the one of `artefacts` that `device` prefers as the bundle `output`.

    `artefacts` are exported files with their descriptions and check vectors beside them, or .tflite
    and .onnx files of any origin: one without a description is run once, in the device's runtime,
    on the test examples of `data` or on random inputs, as `export` makes them of `input_size` and
    `input_range`, and its outputs become check vectors; `labels` name its classes. A folder of C
    code that `export` wrote is compiled for a browser, or built for a microcontroller, whose flash
    and RAM must hold it. `device` is the name of a profile or a TOML file. For browsers the bundle
    is a folder for a web server, and `web_runtime` may be the tarball of onnxruntime-web, which
    runs ONNX files there; for microcontrollers it is the folder of a firmware project, or for one
    whose runtime is tflite-micro of the sources of a program.
    `name` is the bundle's name on the device, where it replaces an earlier one; by default it is
    made of the artefact's and the device's. `sign` is a private key of `keygen`; `counter`, from 1,
    orders the signed bundles of a name: a device takes none whose counter is not higher than those
    that it has served; by default it is the time, in seconds since 1970. `latencies` is a
    bench.json whose measurements of the artefact go into the manifest, with a note where they are
    of another processor, or another artefact was faster: packing measures nothing, and the same
    artefact gives the same bytes, if signed with the same counter.

    Returns a JSON object: path, bytes, sha256, device, artefact, runtime, signed_by, counter (null
    if not signed), left_out (file and why), members, notes. Raises UsageError where none can run
    there, with what each lacks and the devices it runs on; BundleError for damaged files;
    RunDirectoryError where `output` exists, unless `force`; MissingRuntimeError where
    onnxruntime-web, a compiler for C code, or TFLite Micro for a device that has it, is not
    available; and as `describe_graph_file` does.
    """
    from compressor.bundling import compatibility, devices
    from compressor.bundling.sbom import bundle_sbom

    paths = [Path(path) for path in several(artefacts)]
    profile = devices.find_device(device)
    if any(map(code_folder, paths)):
        profile = profile.for_code()
    target = Path(output)
    _check_target(target, profile, force)
    if name is not None:
        _check_name(name)
    key = None if sign is None else read_private_key(sign)
    counter = _counter(counter, signed=key is not None)
    options = {"labels": labels, "input_size": input_size, "input_range": input_range}
    read = {one.path: one for one in read_packables(paths, profile, data, options)}
    described = {path: one.artifact for path, one in read.items()}
    path, left_out = _chosen(described, profile)
    if read[path].code is not None and latencies is not None:
        what = "latencies of this machine's library say nothing of code compiled for another"
        raise UsageError(what, value=latencies, hint="leave --latencies out")
    artifact, members, kind, made = _members(read[path], profile, web_runtime)
    notes = [*read[path].notes, *made]
    if latencies is not None:
        able = [one for one in described.values() if one is not artifact]
        able = [one for one in able if not compatibility.obstacles(one, profile)]
        notes += latency_notes(artifact, able, profile, Path(latencies))
    called = name or f"{path.stem}-{profile.name}"
    _check_name(called)
    manifest = Manifest(
        name=called,
        device=profile.name,
        runtime=profile.runtime,
        runtime_version=profile.runtime_version,
        artifact=artifact,
        latency=() if latencies is None else latencies_of(artifact, Path(latencies)),
        members=(),
        created_by=f"compressor {__version__}",
        counter=counter,
    )
    members[README] = bundle_readme(manifest, kind)
    members[SBOM] = bundle_sbom(manifest.name, artifact, profile, members)
    with deploy_errors():
        packed = pack_members(manifest, members, key)
        content = write_container(packed)
    # Of a microcontroller's only the program goes into its flash.
    if kind not in ("firmware", "tflite-micro") and len(content) > profile.storage_bytes:
        raise UsageError(
            f"does not fit on {profile.name}",
            value=f"the bundle has {len(content):,} bytes, the storage {profile.storage_bytes:,}",
        )
    if is_folder(profile):
        _write_folder(target, packed)
    else:
        write_bytes(target, content)
    return {
        "path": str(target),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "name": manifest.name,
        "device": profile.name,
        "artefact": str(path if artifact.file == path.name else artifact.file),
        "artefact_bytes": artifact.bytes,
        "runtime": {"name": profile.runtime, "version": profile.runtime_version},
        "signed_by": None if key is None else key[0].identifier,
        "counter": counter,
        "left_out": [{"file": str(file), "why": why} for file, why in left_out.items()],
        "members": len(packed),
        "notes": notes,
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
    """Whether a bundle for this device is a folder: for a web server, or of a program's sources."""
    return profile.runtime in ("onnxruntime-web", "tflite-micro", "c")


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
    why = {path: ", ".join(obstacles[path]) or f"{chosen} is preferred" for path in described}
    return chosen, {path: reason for path, reason in why.items() if path != chosen}


def _what_can(described: Mapping[Path, Artifact], profile: DeviceProfile) -> str:
    from compressor.bundling import compatibility

    places = {path: compatibility.runs_on(found) for path, found in described.items()}
    found = "; ".join(
        f"{path.name} runs on {', '.join(names)}" for path, names in places.items() if names
    )
    wanted = f"export one for it with {compatibility.export_options(profile)}"
    return f"{found}; {wanted}" if found else wanted


def _members(
    chosen: Packable, profile: DeviceProfile, web_runtime: Path | str | None
) -> tuple[Artifact, dict[str, bytes], str, tuple[str, ...]]:
    """The artefact, the members but for README and SBOM, the kind (see `bundle_readme`), notes."""
    if web_runtime is not None and profile.runtime != "onnxruntime-web":
        what = "only a bundle for browsers of an ONNX file takes onnxruntime-web"
        raise UsageError(what, value=profile.name)
    if chosen.code is not None and profile.microcontroller is not None:
        project = firmware_project(chosen.code, profile)
        return project.artifact, project.members, "firmware", (project.taken.text(profile),)
    if chosen.code is not None:
        from compressor.bundling.browser import code_site_members

        made = browser_code(chosen.code)
        site = code_site_members(made) | {VECTORS: made.vectors.to_bytes()}
        return made.artifact, site, "browser", ()
    artifact = chosen.artifact
    model, parsed, vectors = chosen.read()
    members = {MODEL_FOLDER + artifact.file: model, VECTORS: vectors}
    if profile.runtime == "onnxruntime-web":
        from compressor.bundling.browser import site_members

        tarball = None if web_runtime is None else Path(web_runtime)
        site = site_members(artifact, model, parsed, tarball=tarball)
        return artifact, members | site, "browser", ()
    if profile.runtime == "tflite-micro":
        from compressor.bundling.micro import micro_members

        sources = micro_members(artifact, model, parsed, profile)
        return artifact, members | sources, "tflite-micro", ()
    if not profile.pythons:
        return artifact, members, "app", ()
    return artifact, members | bundled_runner(), "python", ()


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
        what = "this is no bundle, or files of it were added or edited, and is not replaced"
        raise RunDirectoryError(what, value=target, hint="name another")


def _check_name(name: str) -> None:
    if not is_bundle_name(name):
        hint = "plain letters, digits and _.+=@- make a name, with a letter, digit or _ first"
        hint += "; give one with --name"
        raise UsageError("a bundle is not called that", value=repr(clean(name, 240)), hint=hint)


def _is_container(path: Path) -> bool:
    """Whether a file is a bundle or a runner, which may be replaced."""
    try:
        read_container(read_regular(path, MOST_BYTES))
    except DeployError:
        return False
    return True


def _is_our_folder(folder: Path) -> bool:
    """Whether a folder is empty, or holds a bundle and nothing that is not listed in it.

    What the Makefile of a firmware project built belongs to it; a file that was edited since does
    not.
    """
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    there = {path.relative_to(folder).as_posix() for path in files}
    if not there:
        return True
    try:
        manifest = Manifest.parse(read_regular(folder / MANIFEST, MOST_MANIFEST_BYTES))
    except DeployError:
        return False
    listed = {MANIFEST, SIGNATURE, *(member.name for member in manifest.members)}
    if MAKEFILE in listed:
        there = there.difference(BUILT)
    return there <= listed and not any(
        member.name in there and not _is_as_listed(folder / member.name, member)
        for member in manifest.members
    )


def _is_as_listed(path: Path, member: Member) -> bool:
    with contextlib.suppress(DeployError):
        return Member.of(member.name, read_regular(path, member.bytes)) == member
    return False


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
