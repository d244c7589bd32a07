"""A live table on the terminal, filled in while artefacts are measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np

from compressor.commands.progress import Display
from compressor.measuring import Measured
from deploy.text import clean

_SECONDS_BETWEEN_LINES = 5.0
_COLOURS = {"right": "green", "unproven": "yellow", "wrong": "bold red", "failed": "red"}

Json = dict[str, Any]


class BenchProgress(Display):
    """A listener that shows on standard error what is measured: a live table, or lines in a pipe.

    `done` is called with each finished table: the run so far, and the rows of that table.
    """

    def __init__(self, done: Callable[[Json, Sequence[Json]], None]) -> None:
        super().__init__()
        self._done = done
        self._cases: Sequence[Measured] = ()
        self._title = ""
        self._live: Any = None
        self._last_line = 0.0

    def table(self, cases: Sequence[Measured]) -> None:
        """A table begins."""
        self._cases = cases
        case = cases[0].case
        where = f"{case.threads} thread{'s' * (case.threads > 1)}, batch {case.batch}"
        if not sys.stderr.isatty():
            click.echo(f"{where}: {len(cases)} rows", err=True)
            return
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            get_renderable=self._render,
            console=Console(stderr=True),
            transient=True,
            refresh_per_second=4,
        )
        self._live.start()

    def stage(self, title: str) -> None:
        """A stage of the measurement begins."""
        self.check()
        self._title = title = clean(title)
        now = time.monotonic()
        if self._live is not None:
            self._live.refresh()
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES or not title.startswith("round "):
            self._last_line = now
            click.echo(f"  {title}", err=True)

    def done(self, run: Json, rows: Sequence[Json]) -> None:
        """A table is complete: close the live one, and hand it on."""
        self._close()
        self._done(run, rows)

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        shown = Table(title=Text(self._title, style="dim"), title_justify="left", box=None)
        shown.add_column("artefact")
        shown.add_column("runtime")
        for name in ("p50 ms", "times the first", "examples a second", "metric", ""):
            shown.add_column(name, justify="right")
        first = _median(self._cases[0]) if self._cases else None
        for found in self._cases:
            median = _median(found)
            shown.add_row(
                Text(found.case.subject.name),
                found.case.runtime,
                "" if median is None else f"{median:.4g}",
                "" if median is None or not first else f"{median / first:.3f}",
                "" if not found.streams else f"{np.median(found.streams):,.0f}",
                found.shown,
                Text(found.doing or found.status, style=_COLOURS[found.status]),
            )
        return shown


def _median(found: Measured) -> float | None:
    rounds = list(found.rounds)
    return float(np.median(np.concatenate(rounds))) if rounds else None
