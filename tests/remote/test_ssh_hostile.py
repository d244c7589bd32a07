"""A device that is broken, or an enemy: what it says is no success, and does nothing here.

An `ssh` of our own, first in the PATH, stands in for it.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, compressor

import compressor as library
from compressor.errors import CheckFailedError, MissingRuntimeError, UsageError
from compressor.remote import device_store, workspace as remote_workspace
from compressor.remote.ssh import SshHost
from compressor.remote.workspace import RemoteWorkspace
from deploy.bundle import open_bundle

NAME = "small-test-device"
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
# The connection that is shared makes its socket, and ends with its input; a command runs what is
# in the file of its action.
_SSH = """\
#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in -S) socket=$2; shift;; -M) shares=1;; esac
  last=$1
  shift
done
if [ -n "$shares" ]; then : > "$socket"; exec cat > /dev/null; fi
for action in list status receive activate rollback; do
  case "$last" in *" store $action "*) . {folder}/$action; exit;; esac
done
. {folder}/workspace
"""


class Enemy:
    """What the device does: a shell program for each action."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ssh = folder / "ssh"
        ssh.write_text(_SSH.format(folder=shlex.quote(str(folder))))
        ssh.chmod(0o755)

    def runs(self, action: str, program: str) -> None:
        (self.folder / action).write_text(program + "\n")

    def answers(self, action: str, answer: object) -> None:
        """Let it answer with an object, or with bytes as they are."""
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        (self.folder / f"{action}.answer").write_bytes(text + b"\n")
        self.runs(action, f"cat {shlex.quote(str(self.folder / action))}.answer")


@pytest.fixture()
def enemy(tmp_path, monkeypatch) -> Enemy:
    folder = tmp_path / "enemy"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return Enemy(folder)


@pytest.fixture()
def bundle(versions) -> Path:
    return versions("for-an-enemy")


def right_answers(bundle: Path) -> dict[str, Any]:
    """What an honest device answers, when the bundle is there already."""
    opened = open_bundle(bundle, None)
    state = {"ok": True, "name": NAME, "current": opened.sha256, "previous": None, "versions": 1}
    check = {
        "name": NAME,
        "sha256": opened.sha256,
        "runtime": {"name": "litert", "version": "2.3.0", "provider": None, "device": None},
        "check": {"passed": True, "examples": 16, "difference": 0.0, "tolerance": 1e-5},
    }
    return {
        "status": {**state, "received": opened.size, "complete": True},
        "activate": {**state, "verified": {"signed_by": "0123456789abcdef", "check": check}},
        "list": {**state, "bundles": [{**state, "name": NAME, "damaged": False}]},
    }


def replaced(answer: Any, path: str, value: Any) -> Any:
    """An answer with a field, by its dotted path, that is another."""
    first, _, rest = path.partition(".")
    changed = replaced(answer[first], rest, value) if rest else value
    return {**answer, first: changed}


def one_line(done: Outcome) -> str:
    """The one line of a failed check."""
    assert (done.code, done.stdout) == (1, ""), done
    assert done.stderr.startswith("error: ") and done.stderr.endswith("\n")
    assert done.stderr[:-1].isprintable()
    return done.stderr


def test_an_honest_device_is_believed(enemy, bundle) -> None:
    answers = right_answers(bundle)
    del answers["list"]["bundles"][0]["ok"]
    for action, answer in answers.items():
        enemy.answers(action, answer)

    assert compressor("deploy", bundle, "--host", "h").stdout.startswith(f"{NAME} on h\n")
    assert compressor("deploy", "--host", "h").stdout.startswith(f"{NAME}: ")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ok", 1),
        ("current", None),
        ("current", "0" * 64),
        ("current", ESCAPE),
        ("previous", 5),
        ("verified", None),
        ("verified.signed_by", ESCAPE),
        ("verified.check", []),
        ("verified.check.name", "another"),
        ("verified.check.sha256", "0" * 64),
        ("verified.check.check", {}),
        ("verified.check.check.passed", False),
        ("verified.check.check.passed", "true"),
        ("verified.check.check.examples", 0),
        ("verified.check.check.difference", -1),
    ],
)
def test_a_switch_that_is_not_proven_is_no_success(enemy, bundle, path, value) -> None:
    answers = right_answers(bundle)
    enemy.answers("status", answers["status"])
    enemy.answers("activate", replaced(answers["activate"], path, value))

    line = one_line(compressor("deploy", bundle, "--host", "h"))

    assert "the device does not keep to the protocol: h: " in line


@pytest.mark.parametrize(
    "answer",
    [
        {"ok": True},
        {"ok": True, "received": -1, "complete": False},
        {"ok": True, "received": 10**12, "complete": False},
        {"ok": True, "received": True, "complete": True},
        {"ok": True, "received": 1, "complete": True},
        {"ok": False},
        {"ok": False, "kind": "unheard of", "error": "x"},
        {"ok": False, "kind": "bundle", "error": 5},
        {"ok": False, "kind": "bundle", "error": ESCAPE},
        {"ok": False, "kind": "bundle", "error": "x", "current": 5},
        b"[]",
        b"null",
        b"{",
        b'{"ok": true, "ok": true}',
        b'{"ok": true, "received": NaN, "complete": false}',
        b"[" * 100_000,
        b"hello " + ESCAPE.encode(),
        b"9" * 10_000,
        b"\xff\xfe",
        b" " * (2**20 + 1),
    ],
)
def test_an_answer_that_is_none_is_one_line(enemy, bundle, answer) -> None:
    enemy.answers("status", answer)

    line = one_line(compressor("deploy", bundle, "--host", "h"))

    assert "the device does not keep to the protocol: h: " in line


@pytest.mark.parametrize(
    "bundles",
    [
        None,
        [5],
        [{}],
        [{"name": ESCAPE, "current": None, "previous": None, "versions": 1}],
        [{"name": "../x", "current": None, "previous": None, "versions": 1}],
        [{"name": "x", "current": "0", "previous": None, "versions": 1}],
        [{"name": "x", "current": None, "previous": None, "versions": -1}],
    ],
)
def test_a_list_that_is_none_is_one_line(enemy, bundles) -> None:
    enemy.answers("list", {"ok": True, "bundles": bundles})

    one_line(compressor("deploy", "--host", "h"))


def test_what_it_says_beside_an_answer_is_printable(enemy, bundle) -> None:
    enemy.runs("status", f"printf '%s' '{ESCAPE}' >&2; exit 1")

    done = compressor("deploy", bundle, "--host", "h")

    assert done.code == 3
    assert done.stderr[:-1].isprintable()


@pytest.mark.parametrize("odd", ["\u202e", "\u2066", "\u2028", "\u200b", "\ufe0f", "\x9b2J", "\r"])
def test_what_cannot_be_seen_in_an_answer_is_an_escape(enemy, bundle, odd) -> None:
    enemy.answers("status", {"ok": False, "kind": "bundle", "error": f"a{odd}b"})
    answered = compressor("deploy", bundle, "--host", "h")
    enemy.runs("status", f"printf '%s' 'a{odd}b' >&2; exit 1")
    done = compressor("deploy", bundle, "--host", "h")

    for told in (answered.stderr, done.stderr):
        assert odd not in told and told[:-1].isprintable()
        assert "a b" in told or f"a{odd.encode('unicode_escape').decode()}b" in told


def test_one_that_does_not_answer_is_given_up(enemy, bundle, monkeypatch, rejected) -> None:
    monkeypatch.setattr(device_store, "_ANSWER_SECONDS", 0.3)
    enemy.runs("status", "exec sleep 60")

    message = rejected(CheckFailedError, library.deploy, bundle, "h")

    assert message.startswith("the device does not answer: h: status")


def test_one_that_does_not_read_is_given_up(enemy, bundle, monkeypatch, rejected) -> None:
    monkeypatch.setattr(device_store, "_PIECE_SECONDS", 0.3)
    status = right_answers(bundle)["status"]
    enemy.answers("status", {**status, "received": 0, "complete": False})
    enemy.runs("receive", "exec sleep 60")
    assert bundle.stat().st_size > 2**16  # more than a pipe holds

    message = rejected(CheckFailedError, library.deploy, bundle, "h")

    assert message.startswith("the device does not answer: h: receive")


def test_one_that_writes_errors_without_end_does_not_fill_the_disk(
    enemy, bundle, monkeypatch, rejected
) -> None:
    monkeypatch.setattr(device_store, "_ANSWER_SECONDS", 0.5)
    enemy.runs("status", "cat /dev/zero >&2; exit 1")

    assert "does not answer" in rejected(CheckFailedError, library.deploy, bundle, "h")


def test_a_runner_whose_python_is_too_old_is_no_missing_runner(enemy, bundle, rejected) -> None:
    enemy.runs("status", "echo 'error: this program needs Python 3.9 or newer' >&2; exit 3")

    message = rejected(MissingRuntimeError, library.deploy, bundle, "h")
    assert "needs Python 3.9 or newer" in message and "--python" in message
    assert "installs one" not in message


WORKSPACE = """\
import json, os, sys, time
left = int(sys.argv[1])
while left:
    left -= len(os.read(0, min(left, 65536)))
def say(answer, after=b""):
    line = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    os.write(1, line + b"\\n" + after)
held = sys.stdin.buffer
def asked():
    line = held.readline()
    if not line:
        sys.exit()
    return json.loads(line)
asked()
say({"ok": True, "folder": "/there"})
"""


def workspace(enemy: Enemy, program: str) -> None:
    """Let it open a workspace as it should, and then run a Python program."""
    path = enemy.folder / "workspace.py"
    path.write_text(WORKSPACE + program)
    words = [sys.executable, "-I", "-S", str(path)]
    enemy.runs("workspace", f"exec {shlex.join(words)} ${{last##* }}")


def opened(timeout: float = 20.0) -> RemoteWorkspace:
    return RemoteWorkspace(SshHost("h"), b"archive", timeout=timeout)


def test_a_workspace_that_does_not_read_is_given_up(enemy, monkeypatch, rejected) -> None:
    monkeypatch.setattr(remote_workspace, "_SLOWEST", 2**30)
    monkeypatch.setattr(remote_workspace, "_EXIT_SECONDS", 0.1)
    enemy.runs("workspace", "exec sleep 60")

    message = rejected(CheckFailedError, RemoteWorkspace, SshHost("h"), b"x" * 300_000, timeout=0.3)

    assert message == "the device does not answer: h: the runner took more than 0.3 s"


def test_a_file_comes_only_when_asked_for_and_of_its_size(enemy, tmp_path) -> None:
    workspace(
        enemy,
        "while request := asked():\n"
        "    if request['op'] == 'get':\n"
        "        say({'ok': True, 'bytes': 5}, b'12345')\n"
        "    else:\n"
        "        say({'ok': True, 'bytes': 4000000000, 'path': '/there/x'})\n",
    )
    target = tmp_path / "target"
    space = opened()
    try:
        assert space.request({"op": "signal"})["bytes"] == 4_000_000_000
        space.get("x", target)
        assert target.read_bytes() == b"12345"
        assert space.request({"op": "start"})["path"] == "/there/x"
    finally:
        space.close()


@pytest.mark.parametrize(
    "answer",
    ["b'{}'", "b'[]'", "b'x'", "{'ok': 1}", "{'ok': True, 'bytes': -1}", "{'ok': True}"],
)
def test_a_workspace_that_answers_nonsense_is_one_line(enemy, tmp_path, rejected, answer) -> None:
    workspace(enemy, f"asked()\nsay({answer})\ntime.sleep(60)")
    space = opened()
    try:
        message = rejected(CheckFailedError, space.get, "x", tmp_path / "target")
    finally:
        space._process.kill()

    assert message.startswith("the device does not keep to the protocol: h: ")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("keys", ["0" * 16]),
        ("keys", 5),
        ("path", ESCAPE),
        ("bytes", -1),
        ("before", [ESCAPE]),
        ("lacks", [ESCAPE]),
    ],
)
def test_an_installation_that_is_not_proven_is_no_success(enemy, public_key, key, value) -> None:
    from deploy.signing import read_public_key

    answer = {
        **{"ok": True, "path": "/there/runner.pyz", "bytes": 5, "before": None, "lacks": []},
        "keys": [read_public_key(public_key).identifier],
    }
    workspace(enemy, f"asked()\nsay({answer!r})")
    done = compressor("runner", "--key", public_key, "--host", "h")
    assert done.stdout.startswith("h: /there/runner.pyz: 5 bytes"), done
    workspace(enemy, f"asked()\nsay({ {**answer, key: value}!r})")

    one_line(compressor("runner", "--key", public_key, "--host", "h"))


@pytest.mark.parametrize(
    "host",
    [
        *("", "-oProxyCommand=id", "-F/etc/passwd", "user@-oProxyCommand=id", "a@b@-x"),
        *("ssh://-oProxyCommand=id", "ssh://user@-x:22", "[-x]", "@h", "user@", "a@@b"),
        *("$(id)", "`id`", "h;id", "h|id", "h&id", "h>f", "h<f", "${IFS}", "$HOME", "h$x"),
        *(
            "'h'",
            '"h"',
            "(h)",
            "{h,i}",
            "h*",
            "h?",
            "h!",
            "^h",
            "#h",
            "~h",
            "user@#h",
            "user@~root",
        ),
        *(
            "h -oProxyCommand=id",
            "h\tid",
            "h\nid",
            "h\rid",
            "h\x00",
            "h\x1b[2J",
            "h\u202e",
            "h\u2028",
        ),
        *("h\\", "u@h\\x", "u\\@h", "\\", "$(id)@h", "u;id@h", "u`id`@h", "-u@h", "h\ud800"),
    ],
)
def test_what_ssh_may_take_for_code_is_refused_before_it_starts(
    enemy, public_key, tmp_path, rejected, host
) -> None:
    started, artefact = enemy.folder / "started", tmp_path / "any.tflite"
    (enemy.folder / "ssh").write_text(f"#!/bin/sh\n: > {shlex.quote(str(started))}\n")
    artefact.write_bytes(b"\x1c\0\0\0TFL3")
    for call in (
        lambda: library.bench([artefact], host=host),
        lambda: library.install_runner([public_key], host),
        lambda: library.roll_back("name", host),
        lambda: library.remove_bundle("name", host),
        lambda: library.served(host),
    ):
        assert rejected(UsageError, call).startswith("no host to connect to")
    assert not started.exists()


@pytest.mark.parametrize(
    "host",
    [
        *("device", "pi@kitchen", "pi@kitchen.local", "10.0.0.1", "root@10.0.0.1", "::1"),
        *("fe80::1%eth0", "pi@fe80::1", "[::1]", "pi@[::1]", "host:2222", "ssh://pi@h:2222"),
        *("a_b-c.d", "user+tag@h", "user@target@gateway", "DOMAIN\\user@h", "küche", "u.x-y@h"),
    ],
)
def test_what_ssh_takes_for_a_host_goes_to_it_as_it_is(host) -> None:
    words = SshHost(host).command(["true"])

    assert words[-3:] == ["--", host, "true"]


def test_what_has_no_width_in_a_success_is_an_escape(enemy, bundle) -> None:
    answers = right_answers(bundle)
    enemy.answers("status", answers["status"])
    enemy.answers("activate", replaced(answers["activate"], "verified.signed_by", "key\u2800"))

    shown = compressor("deploy", bundle, "--host", "h")

    assert shown.code == 0
    assert r"signed by key\u2800" in shown.stdout and "\u2800" not in shown.stdout
