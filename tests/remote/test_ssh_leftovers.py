"""However a command ends, no connection of it stays open."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import COMMAND, compressor, environment
from ssh_server import NAME, PATIENCE, CuttingProxy, wait_until

MEBIBYTE = 2**20


def connections(*marks: Path) -> list[str]:
    """The command lines of the processes of ssh that name one of these paths."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        # One that shares its connection calls itself "ssh: PATH [mux]".
        if line.startswith(("ssh", "sh ")) and any(str(mark) in line for mark in marks):
            found.append(line)
    return found


@pytest.fixture()
def short_folder() -> Iterator[Path]:
    """A temporary folder in which the path of a socket is not too long."""
    with tempfile.TemporaryDirectory(prefix="c-") as folder:
        yield Path(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.race
@pytest.mark.slow
def test_a_command_that_is_killed_leaves_no_connection(
    device, versions, short_folder, number
) -> None:
    big = versions("big-left", more=2 * MEBIBYTE)
    # However slow this machine is, the copy is going on when the command is killed.
    with CuttingProxy(device.server.port, bytes_each=MEBIBYTE, cuts=99, stalls=True) as proxy:
        config = device.server.config_by(proxy.port)
        words = ["deploy", big, *device.options, "--folder", device.folder]
        process = subprocess.Popen(
            [str(COMMAND), *map(str, words), "--ssh-config", str(config)],
            env={**environment(), "TMPDIR": str(short_folder)},
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: any(device.folder.glob("*/incoming/*.part")))
            assert connections(config)
            process.send_signal(number)
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
            proxy.flow()

        wait_until(lambda: not connections(config))
    wait_until(lambda: not list(short_folder.iterdir()))


def test_a_configuration_that_keeps_connections_keeps_none_of_ours(
    device, public_key, short_folder, monkeypatch
) -> None:
    config = short_folder / "config"
    lasting = f"ControlMaster auto\nControlPersist 30s\nControlPath {short_folder}/%C\n"
    config.write_text(lasting + device.server.config.read_text())
    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    options = ["--host", NAME, "--python", sys.executable, "--ssh-config", config]

    for words in (["deploy"], ["runner", "--key", public_key]):
        done = compressor(*words, *options, "--folder", device.folder)
        assert done.code == 0, done.stderr

    assert connections(short_folder) == []
