"""The store of bundles on a device, over ssh: `deploy.runner.commands.store` answers there.

Answers are untrusted: limited to 1 MiB and in time, and read field by field; one that does not
confirm the request is an error, never a success.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from compressor import errors
from compressor.errors import CheckFailedError, CompressorError, MissingRuntimeError, UsageError
from compressor.remote.ssh import CONNECTION_LOST, NO_COMMAND, SshHost, in_home
from compressor.remote.ssh_process import SshProcess, TooMuchError
from deploy.container import is_bundle_name
from deploy.errors import ArtifactError, DeployError
from deploy.fields import Fields, parse_json
from deploy.store import RUNNER
from deploy.text import clean

Json = dict[str, Any]
Send = Callable[[Callable[[bytes], None]], None]
"""Calls its argument with all that is to be sent, piece by piece."""

_LONGEST_ANSWER = 2**20
_LONGEST_REFUSAL = 500
# ssh gives up a dead line after a minute; these are for a device that keeps it open.
_PIECE_SECONDS = 120.0
_ANSWER_SECONDS = 900.0
_EXIT_SECONDS = 5.0
_TOO_OLD = "needs Python"  # as `deploy.runner.packing` says it


class CutError(MissingRuntimeError):
    """The connection was cut."""


class StaleError(UsageError):
    """What a request is based on has changed there: it must be asked anew."""


_ERRORS: dict[str, type[CompressorError]] = {
    **{"bundle": errors.BundleError, "check": CheckFailedError},
    **{"missing": MissingRuntimeError, "request": UsageError, "stale": StaleError},
}


class Arrived(NamedTuple):
    """How many bytes of a version have arrived, and whether it is whole."""

    bytes: int
    whole: bool


class DeviceStore:
    """The store in `folder` of a device, over an open connection.

    Every method raises the CompressorError of a refusal, CutError where the connection ends before
    the answer, MissingRuntimeError where there is no runner, CheckFailedError for an invalid
    answer.
    """

    def __init__(self, host: SshHost, folder: str) -> None:
        self.host, self._folder = host, in_home(folder)
        self._program = f"{self._folder}/{RUNNER}"

    @classmethod
    @contextlib.contextmanager
    def connected(cls, host: SshHost, folder: str) -> Iterator[DeviceStore]:
        with host.connected() as shared:
            yield cls(shared, folder)

    def bundles(self) -> list[Json]:
        """Each bundle: name, current and previous (sha256 or null), versions, damaged."""
        answer = self._ask("list")
        with self.host.keeping_to_the_protocol():
            return list(answer.objects("bundles", _held))

    def status(self, name: str, sha256: str, size: int, ticket: str) -> Arrived:
        """What has arrived of a version of `size` bytes; only `ticket` may send more from then."""
        words = ("--sha256", sha256, "--ticket", ticket)
        return self._arrived(self._ask("status", name, *words), size)

    def receive(
        self, name: str, sha256: str, size: int, offset: int, ticket: str, send: Send
    ) -> Arrived:
        """Send a version of `size` bytes from `offset` on; returns what has arrived.

        Raises StaleError if something else has arrived, or another ticket is valid by now.
        """
        words = ("--sha256", sha256, "--bytes", str(size), "--offset", str(offset))
        found = self._ask("receive", name, *words, "--ticket", ticket, send=send)
        return self._arrived(found, size)

    def activate(self, name: str, sha256: str) -> Json:
        """Have a version verified and served: current, previous, verified."""
        return self._switched(self._ask("activate", name, "--sha256", sha256), name, sha256)

    def roll_back(self, name: str) -> Json:
        """Have the previous version verified and served: current, previous, verified."""
        return self._switched(self._ask("rollback", name), name, None)

    def remove(self, name: str) -> int:
        """Remove all versions of a bundle; returns how many there were."""
        answer = self._ask("remove", name)
        with self.host.keeping_to_the_protocol():
            return answer.integer("removed", 0)

    def _arrived(self, answer: Fields, size: int) -> Arrived:
        with self.host.keeping_to_the_protocol():
            found = Arrived(answer.integer("received", 0, size), answer.boolean("complete"))
            if found.whole and found.bytes != size:
                raise ArtifactError("a whole version has another size", value=found.bytes)
            return found

    def _switched(self, answer: Fields, name: str, sha256: str | None) -> Json:
        with self.host.keeping_to_the_protocol():
            current = answer.digest("current")
            if sha256 is not None and current != sha256:
                raise ArtifactError("another version is served", value=current)
            previous = answer.optional("previous", answer.digest)
            verified = Fields(answer.object("verified"), "verified")
            signed_by = clean(verified.text("signed_by"))
            check = _proven(Fields(verified.object("check"), "verified.check"), name, current)
        return {
            "current": current,
            "previous": previous,
            "verified": {"signed_by": signed_by, "check": check},
        }

    def _ask(self, action: str, *words: str, send: Send | None = None) -> Fields:
        """The answer to a request that was done."""
        command = [self._program, "store", action, *words, "--folder", self._folder]
        process = self.host.start(self.host.python_command(command))
        try:
            output = self._output(process, send)
            return self._parse(output, process.finish(_EXIT_SECONDS), process.said)
        except TimeoutError:
            raise CheckFailedError(
                "the device does not answer",
                value=f"{self.host.name}: {action}",
                hint=f"compressor deploy --host {self.host.name} says what is served there",
            ) from None
        except TooMuchError:
            raise self.host.nonsense(f"more than {_LONGEST_ANSWER:,} bytes") from None
        finally:
            process.kill()

    def _output(self, process: SshProcess, send: Send | None) -> bytes:
        with contextlib.suppress(BrokenPipeError):  # seen by what it said, or its exit code
            if send is not None:
                send(lambda piece: process.send(piece, time.monotonic() + _PIECE_SECONDS))
        process.close_input()
        return process.rest(_LONGEST_ANSWER, time.monotonic() + _ANSWER_SECONDS)

    def _parse(self, output: bytes, code: int, said: str) -> Fields:
        cut = code == CONNECTION_LOST or code < 0
        lines = output.splitlines()
        try:
            # The user's shell may print something first.
            content = parse_json(lines[-1] if lines else b"", "answer")
            answer = Fields(content, "answer")
            if answer.boolean("ok"):
                return answer
            refusal = self._refusal(answer, "current" in content)
        except DeployError as error:
            if lines and not cut and (code == 0 or lines[-1].startswith(b"{")):
                raise self.host.nonsense(error) from None
            raise self._no_answer(cut, code, said) from None
        raise refusal

    def _no_answer(self, cut: bool, code: int, said: str) -> MissingRuntimeError:
        where = f"{self.host.name} ({said})" if said else self.host.name
        if cut:
            return CutError("the connection to the device was cut", value=where)
        if code == NO_COMMAND:
            return self.host.no_python(said)
        hint = f"compressor runner --key PUB --host {self.host.name} installs one"
        if _TOO_OLD in said:
            hint = "name its Python with --python"
        what = "there is no runner on the device that answers"
        return MissingRuntimeError(what, value=f"{self._program} on {where}", hint=hint)

    def _refusal(self, answer: Fields, says_served: bool) -> CompressorError:
        kind = _ERRORS[answer.choice("kind", tuple(_ERRORS))]
        said = answer.text("error", longest=_LONGEST_ANSWER)[:_LONGEST_REFUSAL]
        hint = ""
        if says_served:
            hint = "no version is the current one"
            if current := answer.optional("current", answer.digest):
                hint = f"{current[:16]}... stays the current version"
        return kind("the device refuses", value=f"{self.host.name}: {said}", hint=hint)


def _held(fields: Fields) -> Json:
    name = fields.text("name")
    if not is_bundle_name(name):
        raise ArtifactError("no name of a bundle", value=name)
    return {
        "name": name,
        "current": fields.optional("current", fields.digest),
        "previous": fields.optional("previous", fields.digest),
        "versions": fields.integer("versions"),
        "damaged": fields.boolean("damaged"),
    }


def _proven(found: Fields, name: str, sha256: str) -> Json:
    """The result of `verify` there, checked: it passed, and for this bundle."""
    if found.text("name") != name or found.digest("sha256") != sha256:
        raise ArtifactError("another bundle was verified", value=name)
    runtime = Fields(found.object("runtime"), "runtime")
    check = Fields(found.object("check"), "check")
    if not check.boolean("passed"):
        raise ArtifactError("the check vectors are not met", value=name)
    return {
        "name": name,
        "sha256": sha256,
        "runtime": {
            "name": clean(runtime.text("name")),
            "version": clean(runtime.text("version")),
            "provider": runtime.optional("provider", lambda key: clean(runtime.text(key))),
        },
        "check": {
            "passed": True,
            "examples": check.integer("examples", 1),
            "difference": check.number("difference", 0.0),
            "tolerance": check.number("tolerance", 0.0),
        },
    }
