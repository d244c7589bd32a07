"""Bundles over a real ssh: what is served is whole, verified, and the version before if not."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import subprocess
import sys
import threading
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bundles import Signer, bundle_of
from command_line import COMMAND, compressor as compressor_command, environment
from ssh_server import PATIENCE, CuttingProxy, closed_port, end, wait_until

import compressor
from compressor.errors import BundleError, CheckFailedError, MissingRuntimeError, UsageError

NAME = "small-test-device"
MEBIBYTE = 2**20


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def served(device) -> tuple[str | None, str | None]:
    """sha256 of what is served, and of what was before, by what the links lead to."""
    found = []
    for link in ("current", "previous"):
        path = device.folder / NAME / link
        found.append(digest(path) if path.exists() else None)
    return found[0], found[1]


@contextlib.contextmanager
def serving(device) -> Iterator[Callable[[], str]]:
    """`serve --store` on the device, asked all the time; gives the sha256 that it serves."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-I", str(device.runner), "serve", "--store", NAME),
            *("--folder", str(device.folder), "--port", "0"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    failures: list[str] = []
    over = threading.Event()

    def ask() -> str:
        # No proxy of the environment's is asked.
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("GET", "/healthz")
            return str(json.load(connection.getresponse())["sha256"])
        finally:
            connection.close()

    def watch() -> None:
        while not over.wait(0.05):
            try:
                ask()
            except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
                failures.append(repr(error))

    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert "on http://127.0.0.1:" in said
        port = int(said.partition("127.0.0.1:")[2].partition("/")[0])
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield ask
        finally:
            over.set()
            watcher.join()
        assert not failures
    finally:
        end(process)
        process.stdout.close()


def test_a_bundle_is_copied_verified_and_served(device, versions) -> None:
    first = versions("first")

    done = device.command("deploy", first, "--json").json()

    assert done["current"] == done["sha256"] == digest(first)
    assert done["previous"] is None
    assert done["copied_bytes"] == first.stat().st_size
    assert done["verified"]["check"]["check"]["passed"]
    assert served(device) == (digest(first), None)
    assert (device.folder / NAME / "current").is_symlink()
    listed = device.command("deploy").stdout
    assert listed == f"{NAME}: {digest(first)}\n"
    again = device.command("deploy", first, "--json").json()
    assert again["copied_bytes"] == 0
    assert served(device) == (digest(first), None)


@pytest.mark.slow
def test_the_previous_version_is_kept_for_a_rollback_and_older_ones_go(device, versions) -> None:
    paths = [versions(text) for text in ("one", "two", "three")]
    for path in paths:
        assert device.command("deploy", path).code == 0
    digests = [digest(path) for path in paths]
    assert served(device) == (digests[2], digests[1])
    assert device.versions(NAME) == set(digests[1:])

    back = device.command("deploy", NAME, "--rollback")

    assert back.stdout.startswith(f"{NAME} on device\ncurrent:  {digests[1]}\n")
    assert served(device) == (digests[1], digests[2])
    assert (
        device.command("deploy", paths[0], "--rollback", "--json").json()["current"] == digests[2]
    )


@pytest.mark.slow
def test_an_old_signed_version_is_not_put_back(device, artefacts, tmp_path) -> None:
    new, old = tmp_path / "new.bundle", tmp_path / "old.bundle"
    for path, counter in ((new, 7), (old, 6)):
        artefact = artefacts / "small.tflite"
        path.write_bytes(bundle_of(artefact, Signer(3), runner=False, counter=counter))
    assert device.command("deploy", new).code == 0

    refused = device.command("deploy", old).refusal()

    assert f"not newer than what was served here: counter 6, the highest of {NAME} was 7" in refused
    assert "; deploy --rollback goes back to the previous version" in refused
    assert f"{digest(new)[:16]}... stays the current version" in refused
    assert served(device) == (digest(new), None)
    assert device.command("deploy", NAME, "--remove").code == 0
    assert "counter 6" in device.command("deploy", old).refusal()


@pytest.mark.slow
def test_a_server_of_the_store_goes_over_to_the_new_version(device, versions) -> None:
    old, new = versions("old"), versions("new")
    assert device.command("deploy", old).code == 0

    with serving(device) as ask:
        assert ask() == digest(old)
        assert device.command("deploy", new).code == 0
        wait_until(lambda: ask() == digest(new))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vectors", "key", "unsigned"])
def test_what_fails_there_is_not_served(device, versions, kind) -> None:
    old = versions("old")
    bad = versions(
        f"bad-{kind}",
        fails=kind == "vectors",
        by={"key": Signer(8), "unsigned": None}.get(kind, Signer(3)),
    )
    assert device.command("deploy", old).code == 0

    with serving(device) as ask:
        refused = device.command("deploy", bad)
        assert ask() == digest(old)

    assert refused.code == (1 if kind == "vectors" else 2)
    (line,) = refused.stderr.splitlines()
    said = {"vectors": "check vectors", "key": "another key", "unsigned": "not signed"}[kind]
    assert line.startswith("error: the device refuses: device: ")
    assert said in line
    assert f"{digest(old)[:16]}... stays the current version" in line
    assert served(device) == (digest(old), None)
    assert device.versions(NAME) == {digest(old)}


def test_a_first_version_that_fails_leaves_nothing_to_serve(device, versions) -> None:
    refused = device.command("deploy", versions("bad-first", fails=True))

    assert refused.code == 1
    assert "no version is the current one" in refused.stderr
    assert served(device) == (None, None)


@pytest.mark.slow
def test_a_version_that_fails_after_the_switch_is_rolled_back(device, versions, tmp_path) -> None:
    # A runtime that works once and then never more.
    old, new = versions("old"), versions("new-later")
    assert device.command("deploy", old).code == 0
    from deploy.errors import EngineError
    from deploy.store import Store

    store, calls = Store(device.folder), []
    content = new.read_bytes()
    rest = [content]
    store.receive(NAME, digest(new), len(content), 0, lambda count: rest.pop() if rest else b"")

    def verify(path: Path, sha256: str) -> None:
        calls.append((path.name, digest(path)))
        if len(calls) == 2:
            raise EngineError("it fails now")

    with pytest.raises(EngineError):
        store.activate(NAME, digest(new), verify)

    assert calls == [(f"{digest(new)}.bundle", digest(new)), ("current", digest(new))]
    assert served(device) == (digest(old), None)


@pytest.mark.slow
@pytest.mark.race
def test_a_cut_connection_is_taken_up_where_it_broke_off(device, versions) -> None:
    big = versions("big", more=3 * MEBIBYTE)

    with CuttingProxy(device.server.port, bytes_each=MEBIBYTE, cuts=5) as proxy:
        done = compressor.deploy(big, device.host_by(proxy.port), folder=str(device.folder))
        connections = proxy.connections

    # The shared one, and after it one a request, of which those that copy are cut.
    assert connections > 5
    assert done["current"] == digest(big)
    assert served(device) == (digest(big), None)


@pytest.mark.slow
@pytest.mark.race
def test_a_line_that_stays_cut_costs_nothing_that_is_served(device, versions, rejected) -> None:
    old, big = versions("old"), versions("big-cut", more=3 * MEBIBYTE)
    assert device.command("deploy", old).code == 0
    part = device.folder / NAME / "incoming" / f"{digest(big)}.part"

    with serving(device) as ask:
        with CuttingProxy(device.server.port) as proxy:
            host = device.host_by(proxy.port)

            def heard(done: int, size: int) -> None:
                if done > size // 2:
                    proxy.__exit__()

            message = rejected(
                MissingRuntimeError,
                compressor.deploy,
                big,
                host,
                folder=str(device.folder),
                progress=heard,
            )
        assert ask() == digest(old)
        assert "was cut" in message
        assert "the same command goes on from there" in message
        wait_until(part.is_file)
        assert served(device) == (digest(old), None)

        done = device.command("deploy", big, "--json").json()

        assert 0 < done["copied_bytes"] < big.stat().st_size
        wait_until(lambda: ask() == digest(big))


@pytest.mark.slow
@pytest.mark.race
def test_a_killed_command_leaves_what_is_served_and_the_copy_goes_on(device, versions) -> None:
    old, big = versions("old"), versions("big-killed", more=3 * MEBIBYTE)
    assert device.command("deploy", old).code == 0
    part = device.folder / NAME / "incoming" / f"{digest(big)}.part"
    # However slow this machine is, the copy is going on when the command is killed.
    with CuttingProxy(device.server.port, bytes_each=2 * MEBIBYTE, cuts=99, stalls=True) as proxy:
        words = ["deploy", big, *device.options, "--folder", device.folder]
        config = device.server.config_by(proxy.port)
        process = subprocess.Popen(
            [str(COMMAND), *map(str, words), "--ssh-config", str(config)],
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: part.is_file() and part.stat().st_size > MEBIBYTE)
        finally:
            process.kill()
            process.wait()
            proxy.flow()

    assert served(device) == (digest(old), None)
    done = device.command("deploy", big, "--json").json()
    assert done["copied_bytes"] < big.stat().st_size
    assert served(device) == (digest(big), digest(old))


@pytest.mark.slow
def test_a_corrupt_copy_is_thrown_away(device, versions, rejected) -> None:
    old, new = versions("old"), versions("new-corrupt")
    assert device.command("deploy", old).code == 0
    incoming = device.folder / NAME / "incoming"
    incoming.mkdir(exist_ok=True)
    part = incoming / f"{digest(new)}.part"
    part.write_bytes(b"\0" * 1000)

    options = {"folder": str(device.folder)}
    message = rejected(BundleError, compressor.deploy, new, device.host, **options)

    assert "the copy is damaged" in message
    assert f"{digest(old)[:16]}... stays the current version" in message
    assert not part.exists()
    assert served(device) == (digest(old), None)
    assert compressor.deploy(new, device.host, **options)["current"] == digest(new)


def test_two_deployments_of_one_bundle_do_not_meet(device, versions, monkeypatch) -> None:
    from deploy import store as stores
    from deploy.errors import RequestError

    monkeypatch.setattr(stores, "_LOCK_SECONDS", 0.1)
    store = stores.Store(device.folder)
    with store._locked(NAME, make=True), pytest.raises(RequestError, match="another deployment"):
        store.received(NAME, "0" * 64)
    assert store.received(NAME, "0" * 64) == (0, False)


def test_without_a_runner_it_says_how_to_install_one(bare, versions) -> None:
    refused = bare.command("deploy", versions("first"))

    assert refused.code == 3
    assert "compressor runner --key PUB --host device" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not bare.folder.exists()


def test_another_python_and_another_host_are_not_there(bare, versions, rejected) -> None:
    import dataclasses

    path = versions("first")
    no_python = dataclasses.replace(bare.host, python="python-of-nobody")
    message = rejected(MissingRuntimeError, compressor.deploy, path, no_python)
    assert "python-of-nobody" in message and "--python" in message
    with closed_port() as port:
        away = bare.host_by(port)
        message = rejected(MissingRuntimeError, compressor.deploy, path, away)
    assert message.startswith("cannot connect: device (")
    assert f"try: ssh -F {away.config} device" in message
    for name in ("-oProxyCommand=touch x", "a b", "", "me@-x", "\n"):
        rejected(UsageError, compressor.SshHost, name)


@pytest.mark.slow
def test_rolling_back_takes_a_version_before(device, versions, rejected) -> None:
    assert device.command("deploy", versions("first")).code == 0

    message = rejected(
        UsageError, compressor.roll_back, NAME, device.host, folder=str(device.folder)
    )

    assert "there is no previous version" in message


def test_options_that_ssh_refuses_are_bad_input(bare, versions, artefacts) -> None:
    for words, said in (
        (["--ssh-config", "/nowhere"], "no such configuration of ssh: /nowhere"),
        (["--ssh-option", "Bogus=1"], "bogus"),
    ):
        for command in (
            ["deploy", versions("first")],
            ["bench", artefacts / "small.tflite"],
        ):
            refused = compressor_command(*command, *bare.options, *words)
            assert refused.code == 2
            assert said in refused.refusal().lower()


@pytest.mark.slow
def test_a_bundle_is_removed_from_a_device(device, versions) -> None:
    paths = [versions(text) for text in ("one", "two")]
    for path in paths:
        assert device.command("deploy", path).code == 0
    (device.folder / ".removed-left").mkdir()

    with serving(device) as ask:
        done = device.command("deploy", paths[1], "--remove")
        assert done.stdout == f"device: {NAME} was removed (2 versions)\n"
        assert ask() == digest(paths[1])  # what it has loaded
    assert sorted(path.name for path in device.folder.iterdir()) == ["runner.pyz"]
    assert device.command("deploy").stdout == "device has no bundle\n"

    again = device.command("deploy", NAME, "--remove")
    assert again.code == 2
    assert f"no bundle of this name: {NAME}" in again.refusal()
    assert device.command("deploy", paths[0], "--json").json()["previous"] is None
    assert device.command("deploy", NAME, "--remove", "--json").json()["versions"] == 1
    assert device.command("deploy", NAME, "--remove", "--rollback").code == 2
    assert device.command("deploy", "--remove").code == 2


@pytest.mark.slow
def test_a_current_version_that_has_rotted_is_told(device, versions) -> None:
    bundle = versions("rotten")
    assert device.command("deploy", bundle).code == 0
    current = device.folder / NAME / "current"
    current.write_bytes(current.read_bytes()[:-1] + b"?")

    assert "the file there is damaged" in device.command("deploy").stdout
    (listed,) = device.command("deploy", "--json").json()["bundles"]
    assert listed["damaged"] and listed["current"] == digest(bundle)


def stand_in(path: Path, body: str) -> str:
    """A program that is started as the device's Python."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_python_is_named_as_that(bare, public_key, artefacts, tmp_path) -> None:
    """One in which sys.version_info is that of 3.8: what it runs of ours must be the question."""
    patch = "import sys; sys.version_info = (3, 8, 1, 'final', 0); exec(sys.argv.pop(1))"
    old = stand_in(tmp_path / "python3.8", f'shift; shift; exec {sys.executable} -c "{patch}" "$@"')

    output = tmp_path / "bench.json"
    for words in (
        ["runner", "--key", public_key, "--folder", bare.folder],
        ["bench", artefacts / "small.tflite", "-o", output],
    ):
        refused = compressor_command(*words, *bare.options, "--python", old)
        assert refused.code == 3
        assert "it is Python 3.8 there, and needs Python 3.9 or newer" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
    assert not output.exists() and not bare.folder.exists()
    assert not any(bare.server.temporary.iterdir())


@pytest.mark.slow
def test_a_python_without_numpy_measures_nothing_and_is_warned_of(
    bare, public_key, artefacts, tmp_path
) -> None:
    venv.create(tmp_path / "poor", with_pip=False)
    poor = tmp_path / "poor" / "bin" / "python"
    output = tmp_path / "bench.json"

    refused = compressor_command(
        *("bench", artefacts / "small.tflite", "-o", output, *bare.options, "--python", poor)
    )
    assert refused.code == 3, refused.stderr
    assert "numpy is not installed" in refused.stderr
    assert not output.exists()

    installed = compressor_command(
        *("runner", "--key", public_key, "--folder", bare.folder, *bare.options, "--python", poor)
    )
    assert installed.code == 0
    assert "warning: the Python there has no numpy\n" in installed.stdout
    assert "warning: the Python there has no runtime (ai-edge-litert" in installed.stdout


@pytest.mark.slow
def test_a_runner_with_other_keys_is_replaced_by_force_only(device, tmp_path, public_key) -> None:
    other = Signer(9).write_public(tmp_path / "other.pub")
    before = device.runner.read_bytes()

    refused = device.command("runner", "--key", other)

    assert refused.code == 2
    assert "--force" in refused.stderr
    assert device.runner.read_bytes() == before
    assert device.command("runner", "--key", public_key).code == 0
    done = device.command("runner", "--key", other, "--force", "--json").json()
    assert done["keys"] == [Signer(9).public.identifier]
    assert device.runner.read_bytes() != before
    assert not any(device.server.temporary.iterdir())


def test_a_runner_goes_to_a_file_or_to_a_device(tmp_path, public_key) -> None:
    from command_line import compressor as command

    path = tmp_path / "runner.pyz"
    assert command("runner", "--key", public_key, "-o", path).code == 0
    listed = subprocess.run(
        [sys.executable, "-I", str(path), "store", "list", "--folder", str(tmp_path / "none")],
        capture_output=True,
        text=True,
    )
    assert json.loads(listed.stdout) == {"ok": True, "bundles": []}
    assert command("runner", "--key", public_key, "-o", path).code == 2
    assert command("runner", "--key", public_key).code == 2
    assert command("runner", "--key", public_key, "-o", path, "--force").code == 0


def test_only_a_runner_is_replaced_by_one(tmp_path, public_key, versions) -> None:
    from command_line import compressor as command

    letter = tmp_path / "letter.txt"
    letter.write_text("Dear all")
    for path in (letter, versions("not-replaced")):
        before = path.read_bytes()
        refused = command("runner", "--key", public_key, "-o", path, "--force")
        assert "this is no runner, and is not replaced" in refused.refusal()
        assert path.read_bytes() == before


def test_a_name_cannot_lead_out_of_the_store(tmp_path) -> None:
    from deploy.errors import RequestError
    from deploy.store import Store

    store = Store(tmp_path / "store")
    for name in ("..", "../x", "/etc", "a/b", ".hidden", ""):
        with pytest.raises(RequestError):
            store.received(name, "0" * 64)
    for sha256 in ("", "0" * 63, "../../x", "A" * 64):
        with pytest.raises(RequestError):
            store.received("name", sha256)
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store" / "name").glob("v*"))


def test_a_failed_check_is_an_error_of_its_own(device, versions, rejected) -> None:
    message = rejected(
        CheckFailedError,
        compressor.deploy,
        versions("bad-alone", fails=True),
        device.host,
        folder=str(device.folder),
    )

    assert "the outputs for the check vectors are wrong: they differ by" in message
