"""Commands for devices that ssh reaches: runner, deploy."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

import compressor
from compressor.commands.options import JSON, PATH, host_of, host_options
from compressor.commands.output import print_results
from compressor.commands.parameters import Command
from compressor.errors import UsageError

_SECONDS_BETWEEN_LINES = 5.0
_FOLDER = "~/.local/share/compressor"
_FOLDER_OPTION = click.option(
    "--folder",
    default=_FOLDER,
    show_default=True,
    metavar="DIR",
    help="Where the device keeps its runner and its bundles; from its user's home.",
)


@click.command(cls=Command)
@click.option(
    "--key",
    "keys",
    type=PATH,
    multiple=True,
    required=True,
    metavar="PUB",
    help="Trust bundles signed by this public key of keygen; may be given several times.",
)
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Write the runner to this file.")
@host_options("Install it on this device, through your ssh: [user@]host.")
@_FOLDER_OPTION
@click.option("--force", is_flag=True, help="Replace a file, or a runner that trusts other keys.")
@JSON
def runner(
    keys: tuple[Path, ...],
    output: Path | None,
    folder: str,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the program that a device trusts, or install it there: runner.pyz, with keys in it.

    It is one file for any Python from 3.9 on with numpy and a runtime. It verifies, runs, measures
    and serves the bundles that are signed by one of its keys, and refuses all others before
    anything of them runs.

    \b
    Examples:
      compressor runner --key release.pub -o runner.pyz
      compressor runner --key release.pub --host pi@raspberrypi.local
    """
    host = host_of(options)
    if (host is None) == (output is None):
        raise UsageError("the runner goes to a file or to a device", value="give -o or --host")
    if host is not None:
        done = compressor.install_runner(keys, host, folder=folder, force=force)
    else:
        assert output is not None
        done = compressor.write_runner(keys, output, force=force)
    print_results(done, _runner_text, as_json)


@click.command(cls=Command)
@click.argument("bundle", required=False, metavar="[BUNDLE]")
@host_options("The device, through your ssh: [user@]host.", required=True)
@_FOLDER_OPTION
@click.option(
    "--rollback", is_flag=True, help="Serve the previous version again; BUNDLE may be its name."
)
@click.option(
    "--remove",
    is_flag=True,
    help="Remove it from the device, with all its versions; BUNDLE may be its name.",
)
@JSON
def deploy(
    bundle: str | None, folder: str, rollback: bool, remove: bool, as_json: bool, **options: Any
) -> None:
    """Bring BUNDLE to a device, where the installed runner verifies it before it is served.

    The copy goes on where an earlier one broke off. The switch is one rename, after which it is
    verified again: where anything fails, the version before is served on. The previous version is
    kept for --rollback. Without BUNDLE: what is current there. The runner is installed once, by
    `compressor runner --host`; `runner.pyz serve --store NAME` there serves what is current. After
    --remove a server that runs goes on with what it has loaded, until it is ended.

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
        raise UsageError("a bundle is rolled back or removed", value="--rollback and --remove")
    if bundle is None:
        if rollback or remove:
            what = "rolled back" if rollback else "removed"
            raise UsageError(f"which bundle is to be {what}", value="none is named")
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
    """The name of a bundle: that of the file, or the text itself."""
    if not Path(bundle).is_file():
        return bundle
    return str(compressor.verify(bundle, static=True)["name"])


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show on standard error how far the copy is: a bar on a terminal, else a line now and then."""
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
    lines.append(f"verified: there, signed by {signed_by}, check vectors right")
    lines.append(f"previous: {done['previous'] or 'none'}")
    return "".join(f"{line}\n" for line in lines)


def _removed_text(done: dict[str, Any]) -> str:
    count = done["versions"]
    return f"{done['host']}: {done['name']} is removed ({count} version{'s' * (count != 1)})\n"


def _served_text(found: dict[str, Any]) -> str:
    lines = [f"{bundle['name']}: {_state(bundle)}" for bundle in found["bundles"]]
    return "".join(f"{line}\n" for line in lines or [f"{found['host']} has no bundle"])


def _state(bundle: dict[str, Any]) -> str:
    if bundle["current"]:
        damaged = " (its file is damaged there: deploy it again)" if bundle["damaged"] else ""
        return str(bundle["current"]) + damaged
    count = bundle["versions"]
    what = "version is" if count == 1 else "versions are"
    return f"no version is the current one, {count} {what} kept that could not be verified"
