"""Commands for devices reached over ssh: runner, deploy."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.options import (
    JSON,
    force_option,
    host_of,
    host_options,
    keys_option,
    output_option,
)
from compressor.commands.output import print_results
from compressor.commands.parameters import Command
from compressor.errors import UsageError

_SECONDS_BETWEEN_LINES = 5.0
_FOLDER_OPTION = click.option(
    "--folder",
    default="~/.local/share/compressor",
    metavar="DIR",
    help="Folder on the device for the runner and the bundles, relative to the user's home.",
)


@click.command(cls=Command)
@keys_option("Trust bundles signed with this key (NAME.pub of keygen).", required=True)
@output_option("Write the runner to this file.")
@host_options("Install the runner on this device, over ssh: [user@]host.")
@_FOLDER_OPTION
@force_option("Replace an existing file, or a runner that trusts other keys.")
@JSON
def runner(
    keys: tuple[Path, ...],
    output: Path | None,
    folder: str,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the on-device runner, or install it over ssh.

    The runner is one file (runner.pyz), for any Python from 3.9 on with numpy and a runtime, and
    holds the public keys that the device trusts. It verifies, runs, measures and serves bundles
    signed with one of these keys, and refuses any other bundle before running anything in it.

    \b
    Examples:
      compressor runner --key release.pub -o runner.pyz
      compressor runner --key release.pub --host pi@raspberrypi.local
    """
    host = host_of(options)
    if (host is None) == (output is None):
        raise UsageError("the runner needs one destination", value="give -o or --host")
    if host is not None:
        done = compressor.install_runner(keys, host, folder=folder, force=force)
    else:
        assert output is not None
        done = compressor.write_runner(keys, output, force=force)
    print_results(done, _runner_text, as_json)


@click.command(cls=Command)
@click.argument("bundle", required=False, metavar="[BUNDLE]")
@host_options("The device, over ssh: [user@]host.", required=True)
@_FOLDER_OPTION
@click.option(
    "--rollback",
    is_flag=True,
    help="Go back to the previous version. BUNDLE may be a bundle's name.",
)
@click.option(
    "--remove",
    is_flag=True,
    help="Remove the bundle, with all its versions. BUNDLE may be a bundle's name.",
)
@JSON
def deploy(
    bundle: str | None, folder: str, rollback: bool, remove: bool, as_json: bool, **options: Any
) -> None:
    """Copy a bundle to a device, and switch the device to it.

    The runner on the device verifies BUNDLE before the switch, which is one rename, and again after
    it; if anything fails, the device keeps serving the version it had. A signed version that is
    older than one that was served there, by its counter, is refused. An interrupted copy is
    resumed. The previous version is kept for --rollback. Without BUNDLE, the command lists the
    current bundles on the device. Install the runner first, once, with `compressor runner --host`;
    `runner.pyz serve --store NAME` on the device serves the current version. A running server keeps
    what it has loaded until it is stopped, even after --remove.

    \b
    Examples:
      compressor deploy small.bundle --host pi@raspberrypi.local
      compressor deploy small.bundle --host pi@raspberrypi.local --rollback
      compressor deploy --host pi@raspberrypi.local
      compressor deploy small-raspberrypi-4 --host pi@raspberrypi.local --remove
    """
    host = host_of(options)
    assert host is not None
    if rollback and remove:
        raise UsageError("options exclude each other", value="--rollback and --remove")
    if bundle is None:
        if rollback or remove:
            what = "--rollback" if rollback else "--remove"
            raise UsageError(f"{what} needs a BUNDLE", value="none is given")
        print_results(compressor.served(host, folder=folder), _served_text, as_json)
    elif remove:
        done = compressor.remove_bundle(_name_of(bundle), host, folder=folder)
        print_results(done, _removed_text, as_json)
    elif rollback:
        done = compressor.roll_back(_name_of(bundle), host, folder=folder)
        print_results(done, _deployed_text, as_json)
    else:
        with _progress() as heard:
            done = compressor.deploy(bundle, host, folder=folder, progress=heard)
        print_results(done, _deployed_text, as_json)


def _name_of(bundle: str) -> str:
    """The name in the manifest if `bundle` is a file, else `bundle` itself."""
    if not Path(bundle).is_file():
        return bundle
    return str(compressor.verify(bundle, static=True)["name"])


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show the copy's progress on standard error: a bar on a terminal, else a line every 5 s."""
    with contextlib.ExitStack() as stack:
        bar: Any = None
        last = time.monotonic()

        def heard(done: int, size: int) -> None:
            nonlocal bar, last
            if sys.stderr.isatty():
                if bar is None:
                    made = click.progressbar(length=size, label="copying", file=sys.stderr)
                    bar = stack.enter_context(made)
                bar.update(done - bar.pos)
            elif time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
                last = time.monotonic()
                click.echo(f"copied {done:,} of {size:,} bytes", err=True)

        yield heard


def _runner_text(done: dict[str, Any]) -> str:
    where = f"{done['host']}: " if "host" in done else ""
    lines = [f"{where}{done['path']}: {done['bytes']:,} bytes, trusts {', '.join(done['keys'])}"]
    replaced = done.get("replaced_keys")
    if replaced is not None and replaced != done["keys"]:
        lines.append(
            f"the runner that it replaces trusted {', '.join(map(str, replaced)) or 'none'}"
        )
    for missing in done.get("lacks", ()):
        lines.append(f"warning: the Python there has no {missing.removeprefix('a ')}")
    return "".join(f"{line}\n" for line in lines)


def _deployed_text(done: dict[str, Any]) -> str:
    lines = [f"{done['name']} on {done['host']}", f"current:  {done['current']}"]
    if "copied_bytes" in done:
        lines.append(f"copied:   {done['copied_bytes']:,} of {done['bytes']:,} bytes")
    signed_by = done["verified"]["signed_by"]
    lines.append(f"verified: on the device, signed by {signed_by}, check vectors ok")
    lines.append(f"previous: {done['previous'] or 'none'}")
    return "".join(f"{line}\n" for line in lines)


def _removed_text(done: dict[str, Any]) -> str:
    count = done["versions"]
    return f"{done['host']}: {done['name']} was removed ({count} version{'s' * (count != 1)})\n"


def _served_text(found: dict[str, Any]) -> str:
    lines = [f"{bundle['name']}: {_state(bundle)}" for bundle in found["bundles"]]
    return "".join(f"{line}\n" for line in lines or [f"{found['host']} has no bundle"])


def _state(bundle: dict[str, Any]) -> str:
    if bundle["current"]:
        damaged = bundle["damaged"]
        return bundle["current"] + " (the file there is damaged: deploy it again)" * damaged
    count = bundle["versions"]
    what = "version is" if count == 1 else "versions are"
    return f"no version is the current one, {count} {what} kept that could not be verified"
