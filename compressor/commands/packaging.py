"""Commands that make and check bundles: keygen, package, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.options import JSON, PATH
from compressor.commands.output import print_results
from compressor.commands.parameters import Command


@click.command(cls=Command)
@click.argument("name", type=PATH)
@JSON
def keygen(name: Path, as_json: bool) -> None:
    """Make a pair of Ed25519 keys: NAME.key signs bundles, NAME.pub checks them.

    NAME.key can be read by you alone (mode 0600), and has no password: keep it where you keep your
    other secrets. NAME.pub goes to whoever verifies, and into the runner of each device.

    \b
    Example:
      compressor keygen release
    """
    print_results(compressor.keygen(name), _keys_text, as_json)


@click.command(cls=Command)
@click.argument("artefacts", type=PATH, nargs=-1, required=True, metavar="ARTEFACT...")
@click.option(
    "--device",
    required=True,
    metavar="NAME|FILE",
    help="The device: a name that `compressor devices` lists, or a TOML file of your own.",
)
@click.option("-o", "--output", type=PATH, required=True, metavar="PATH", help="The bundle.")
@click.option(
    "--name",
    metavar="NAME",
    help="What it is called on the device, where it replaces what was called so before. "
    "Default: ARTEFACT-DEVICE.",
)
@click.option("--sign", type=PATH, metavar="KEY", help="Sign it with this private key of keygen.")
@click.option(
    "--latencies",
    type=PATH,
    metavar="FILE",
    help="A bench.json that has measured the artefact: the manifest repeats what it says.",
)
@click.option(
    "--web-runtime",
    type=PATH,
    metavar="TARBALL",
    help="For browsers: onnxruntime-web as npm packs it. Default: fetched once, by npm.",
)
@click.option("--force", is_flag=True, help="Replace the bundle that is there.")
@JSON
def package(artefacts: tuple[Path, ...], as_json: bool, **options: Any) -> None:
    """Pack one of ARTEFACTs, the one that the device prefers, as a bundle for it.

    An artefact is a file of `compressor export`, with its description (FILE.json) and check vectors
    (FILE.check.npz) beside it. One that cannot run on the device is refused: runtime, operator
    versions, memory, storage, what it needs against what is there. A bundle is one file, the same
    for the same artefact: the artefact, a manifest, check vectors, the runner, an SBOM and a
    README. For browsers it is a folder that any web server serves. Packaging runs nothing: run
    compressor verify on the bundle before it ships.

    \b
    Examples:
      compressor package small.tflite --device raspberrypi-4 -o small.bundle --sign release.key
      compressor package small.tflite small.onnx --device linux-x86-64 -o small.bundle
      compressor package small.onnx --device browser -o site
    """
    print_results(compressor.package(artefacts, **options), _package_text, as_json)


@click.command(cls=Command)
@click.argument("bundle", type=PATH)
@click.option(
    "--key",
    "keys",
    type=PATH,
    multiple=True,
    metavar="PUB",
    help="Require a signature by this public key; may be given several times.",
)
@click.option("--static", is_flag=True, help="Do not run the check vectors.")
@JSON
def verify(bundle: Path, keys: tuple[Path, ...], static: bool, as_json: bool) -> None:
    """Check BUNDLE, a file or the folder of one for browsers; its program is not run.

    First all that needs no runtime: the container byte for byte, the manifest, every digest, with
    --key the signature. Then the check vectors, in the runtime that the bundle is for. Without
    --key only its integrity is proven, and its model runs although nobody vouches for it; --static
    runs nothing. Exit code 2 when it is refused, 1 when it does not compute what it should, 3 when
    its runtime is not there.

    \b
    Examples:
      compressor verify small.bundle --key release.pub
      compressor verify site --key release.pub --static
    """
    print_results(compressor.verify(bundle, keys=keys, static=static), _verify_text, as_json)


def _keys_text(made: dict[str, Any]) -> str:
    return (
        f"private key: {made['private']} (keep it secret)\n"
        f"public key:  {made['public']}\n"
        f"identifier:  {made['identifier']}\n"
    )


def _package_text(made: dict[str, Any]) -> str:
    runtime = made["runtime"]
    lines = [f"left out {left['file']}: {left['why']}" for left in made["left_out"]]
    signed = f"signed by {made['signed_by']}" if made["signed_by"] else "not signed"
    lines += [
        f"{made['path']}: {made['bytes']:,} bytes, of which {made['artefact_bytes']:,} are "
        f"{made['artefact']}",
        f"for {made['device']}, in {runtime['name']} {runtime['version']}; {signed}",
        f"sha256: {made['sha256']}",
    ]
    return "\n".join(lines) + "\n"


def _verify_text(found: dict[str, Any]) -> str:
    lines = [
        f"{found['path']}: {found['name']} for {found['device']}, {found['bytes']:,} bytes",
        f"sha256:    {found['sha256']}",
        f"integrity: right, {found['members']} members",
        f"origin:    {_origin(found)}",
    ]
    check = found["check"]
    if check is None:
        lines.append("outputs:   not checked (--static)")
    else:
        lines.append(
            f"outputs:   right, {check['examples']} check vectors in {check['runtime']} "
            f"{check['version']} (differ by {check['difference']:.2g}, at most "
            f"{check['tolerance']:.2g})"
        )
        if check["stands_in_for"]:
            lines.append(f"           {check['stands_in_for']} is not here: not proven in it")
        elif check["packed_for"] != check["version"]:
            lines.append(f"           packed for {check['packed_for']}: not proven in that version")
    return "\n".join(lines) + "\n"


def _origin(found: dict[str, Any]) -> str:
    if found["signed_by"]:
        return f"signed by {found['signed_by']}"
    return "not checked, give --key" if found["signed"] else "not signed"
