"""Tickets of a bundle store: who may send bytes now.

A ticket is SESSION.ATTEMPT. Who asks what has arrived brings a new one, which goes into the lock
file: from then on bytes are taken only from who has the same. So a copy whose connection was cut,
but which is still arriving or has not even begun, ends.
"""

from __future__ import annotations

import re
from pathlib import Path

from deploy.errors import RequestError, StaleError

_TICKET = re.compile(r"[0-9a-f]{16}\.[0-9]{4}")
_LENGTH = 21


def check_ticket(ticket: str) -> None:
    """Raise RequestError for what is neither a ticket nor empty, which is none."""
    if ticket and _TICKET.fullmatch(ticket) is None:
        raise RequestError("not a ticket", value=ticket)


def write_ticket(lock: Path, ticket: str) -> None:
    """From now on `ticket` is the valid one; "" leaves it as it is."""
    try:
        with open(lock, "r+b", buffering=0) as file:
            file.write(ticket.encode())
    except FileNotFoundError:  # the folder was removed
        pass


def accept(lock: Path, ticket: str) -> None:
    """Raise StaleError if another ticket than this one is valid; "" is always accepted."""
    valid = _valid(lock)
    if ticket and not valid:
        write_ticket(lock, ticket)
    elif ticket and valid != ticket:
        raise StaleError("another copy has taken over")


def take_over(lock: Path, ticket: str) -> None:
    """Make `ticket` valid if that of the process which has the lock is of the same session."""
    if ticket and _valid(lock).partition(".")[0] == ticket.partition(".")[0]:
        write_ticket(lock, ticket)


def _valid(lock: Path) -> str:
    try:
        with open(lock, "rb") as file:
            return file.read(_LENGTH).decode("ascii", "replace")
    except FileNotFoundError:
        return ""
