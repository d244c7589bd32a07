"""Signals that a library makes another error of: the program ends by the signal, not by the error.

h5py, interrupted while it reads, raises a SystemError, which reads like a damaged model.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from command_line import compressor as command

import compressor
from compressor.commands.progress import TerminalProgress
from compressor.errors import ModelError
from deploy.errors import ArtifactError
from deploy.interrupts import unwinding
from deploy.runner import __main__ as runner

CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def swallowed(number: int, error: Exception) -> Callable[..., Any]:
    """Work that a signal interrupts, and that says it with another error."""

    def work(*_: Any, **__: Any) -> Any:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise error from None

    return work


@pytest.fixture(autouse=True)
def usual_handlers() -> Iterator[None]:
    """The handlers that a program begins with; what was before returns."""
    before = {number: signal.getsignal(number) for number, _ in CODES}
    for number in before:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_command_ends_by_the_signal(
    monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    damaged = ModelError("cannot read the weights of the model", value="SystemError")
    monkeypatch.setattr(compressor, "inspect", swallowed(number, damaged))

    outcome = command("inspect", "model.keras")

    assert outcome.code == code
    assert outcome.stderr.startswith("interrupted; ")
    assert "cannot read" not in outcome.stderr


@pytest.mark.parametrize(("number", "code"), CODES)
def test_the_runner_ends_by_the_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, number: int, code: int
) -> None:
    monkeypatch.setattr(runner, "_execute", swallowed(number, ArtifactError("damaged")))

    assert runner.main(["verify"]) == code
    assert "interrupted" in capsys.readouterr().err


def test_progress_on_the_terminal_loses_no_interrupt() -> None:
    with pytest.raises(KeyboardInterrupt), TerminalProgress():
        swallowed(signal.SIGINT, ModelError("cannot read the weights"))()


def test_an_error_without_a_signal_is_that_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an interrupt of an earlier command in the same process."""
    with pytest.raises(KeyboardInterrupt), unwinding():
        signal.raise_signal(signal.SIGINT)

    outcome = command("inspect", "missing.keras")

    assert outcome.code == 2
    assert "missing.keras" in outcome.stderr
