"""The command that lists devices: devices."""

from __future__ import annotations

import click

from compressor.commands.options import JSON
from compressor.commands.output import print_results
from compressor.commands.parameters import Command


@click.command(cls=Command)
@click.argument("device", required=False, metavar="[NAME|FILE]")
@JSON
def devices(device: str | None, as_json: bool) -> None:
    """List the devices that bundles can be packed for, or show one.

    Describe a device of your own in a TOML file (see docs/devices.md); naming the file here checks
    it.

    \b
    Examples:
      compressor devices
      compressor devices raspberrypi-4
      compressor devices my-board.toml --json
    """
    from compressor.bundling import find_device, known
    from compressor.report import device_text, devices_text

    if device is None:
        print_results([profile.describe() for profile in known()], devices_text, as_json)
    else:
        print_results(find_device(device).describe(), device_text, as_json)
