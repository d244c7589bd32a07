"""Commands that pack and verify bundles: keygen, package, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.options import (
    INPUT_RANGE,
    INPUT_SIZE,
    JSON,
    LABELS,
    PATH,
    data_option,
    force_option,
    given_data,
    keys_option,
    output_option,
)
from compressor.commands.output import print_results
from compressor.commands.parameters import Command


@click.command(cls=Command)
@click.argument("name", type=PATH)
@JSON
def keygen(name: Path, as_json: bool) -> None:
    """Make a pair of Ed25519 keys that sign and verify bundles.

    NAME.key signs bundles; only you can read it (mode 0600), and it has no password: keep it with
    your other secrets. NAME.pub verifies them; give it to whoever does that, and put it into the
    runner of each device.

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
    help="Target device: a name from `compressor devices`, or a TOML file of your own.",
)
@output_option("Bundle to write.", required=True, metavar="PATH")
@click.option(
    "--name",
    metavar="NAME",
    help="Name on the device, where it replaces the bundle of the same name. "
    "Default: ARTEFACT-DEVICE.",
)
@click.option(
    "--sign", type=PATH, metavar="KEY", help="Sign with this private key (NAME.key of keygen)."
)
@click.option(
    "--counter",
    type=int,
    metavar="N",
    help="Counter of a signed bundle: a device takes no version of its name and key whose counter "
    "is not higher than all that it served. Default: the time, in seconds.",
)
@click.option(
    "--latencies",
    type=PATH,
    metavar="FILE",
    help="A bench.json with measurements of the artefact, to copy into the manifest.",
)
@click.option(
    "--web-runtime",
    type=PATH,
    metavar="TARBALL",
    help="For browsers: onnxruntime-web as packed by npm, which runs ONNX files there. "
    "Default: downloaded once, by npm.",
)
@data_option("random inputs, for an artefact without a description; no accuracy is measured then")
@LABELS
@INPUT_SIZE
@INPUT_RANGE
@force_option("Replace an existing bundle.")
@JSON
def package(
    artefacts: tuple[Path, ...], data_dir: Path | None, as_json: bool, **options: Any
) -> None:
    """Pack an artefact as a bundle for a device.

    An ARTEFACT is a file written by `compressor export`, with its description (FILE.json) and check
    vectors (FILE.check.npz) next to it, or a .tflite or .onnx file of any origin: one without a
    description is run once in the device's runtime, and its outputs become the check vectors; give
    --data for its accuracy. Of several, the one that suits the device best is packed. A folder of C
    code that `compressor export --format c` wrote is compiled for a browser, to WebAssembly (see
    `compressor runtimes install ziglang`), or becomes a firmware project and an Arduino library,
    whose flash and RAM are checked before anything is written (gcc-arm-none-eabi).
    An artefact that cannot run on the device is refused, with what it needs (runtime, operator
    versions, memory, storage) and what the device has. A bundle is one reproducible file (signed,
    with the same --counter): the artefact, a manifest, check vectors, the runner, an SBOM and a
    README. For browsers it is a folder for any web server, for microcontrollers one with a
    Makefile, or with the sources for TFLite Micro. Packing an exported artefact runs nothing, but
    measures what memory it takes in TFLite Micro: run `compressor verify` before you ship.

    \b
    Examples:
      compressor package small.tflite --device raspberrypi-4 -o small.bundle --sign release.key
      compressor package small.tflite small.onnx --device linux-x86-64 -o small.bundle
      compressor package small.onnx --device browser -o site
      compressor package micro.tflite --device nrf52840-tflm -o firmware
      compressor package small-c --device browser -o site
      compressor package small-c --device stm32f4 -o firmware
      compressor package found.tflite --labels cat,dog --device raspberrypi-4 -o found.bundle
    """
    options["data"] = given_data(data_dir)
    print_results(compressor.package(artefacts, **options), _package_text, as_json)


@click.command(cls=Command)
@click.argument("bundle", type=PATH)
@keys_option("Require a signature by this key.")
@click.option("--static", is_flag=True, help="Do not run the check vectors.")
@JSON
def verify(bundle: Path, keys: tuple[Path, ...], static: bool, as_json: bool) -> None:
    """Verify a bundle: its integrity, signature and outputs.

    BUNDLE is a file, or the folder of a bundle for browsers; its runner is never executed. The
    container, the manifest, every digest and, with --key, the signature are checked first; then
    the check vectors run in the bundle's runtime, WebAssembly of C code in Node.js. Without --key
    only integrity is proven, and the model runs although nobody vouches for it; --static runs
    nothing. Exit code: 2 if the bundle is refused, 1 if its outputs are wrong, 3 if its runtime is
    not available.

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
    lines += [f"note: {note}" for note in made["notes"]]
    signed = "not signed"
    if made["signed_by"]:
        signed = f"signed by {made['signed_by']}, counter {made['counter']}"
    lines += [
        f"{made['path']}: {made['bytes']:,} bytes, of which {made['artefact_bytes']:,} are "
        f"{made['artefact']}",
        f"for {made['device']}, with {runtime['name']} {runtime['version']}; {signed}",
        f"sha256: {made['sha256']}",
    ]
    return "\n".join(lines) + "\n"


def _verify_text(found: dict[str, Any]) -> str:
    lines = [
        f"{found['path']}: {found['name']} for {found['device']}, {found['bytes']:,} bytes",
        f"sha256:    {found['sha256']}",
        f"integrity: ok, {found['members']} members",
        f"origin:    {_origin(found)}",
    ]
    check = found["check"]
    if check is None:
        lines.append("outputs:   not checked (--static)")
    else:
        lines.append(
            f"outputs:   ok, {check['examples']} check vectors in {check['runtime']} "
            f"{check['version']} (largest difference {check['difference']:.2g}, tolerance "
            f"{check['tolerance']:.2g})"
        )
        if check["stands_in_for"]:
            lines.append(
                f"           {check['stands_in_for']} is not available: not verified in it"
            )
        elif check["packed_for"] != check["version"]:
            lines.append(
                f"           packed for {check['packed_for']}: not verified in that version"
            )
    return "\n".join(lines) + "\n"


def _origin(found: dict[str, Any]) -> str:
    if found["signed_by"]:
        counter = f", counter {found['counter']}" if found["counter"] else ""
        return f"signed by {found['signed_by']}{counter}"
    return "signed, but not checked: give --key" if found["signed"] else "not signed"
