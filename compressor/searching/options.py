"""The options of a search, checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.errors import UsageError
from compressor.models import Asked
from compressor.parallel import Crew
from compressor.remote import SshHost
from compressor.runtimes import Runner, python_of
from compressor.searching.evolution import Evolution
from compressor.searching.goal import Goal

TIME_BUDGET = 600.0
_TRIAL_PART, _LEAST = 0.5, 60.0


@dataclasses.dataclass(frozen=True)
class How:
    """How a search goes about it."""

    goal: Goal
    evolution: Evolution
    max_steps: int | None
    seed: int
    crew: Crew | None
    """who trains; None: this process"""
    trial_limit: float | None
    """seconds"""
    threads: int
    host: SshHost | None
    """what measures; None: this machine"""
    asked: Mapping[str, Asked]
    """the `task` and the `metric` that the user named, of those that are"""


def check_limits(
    time_budget: float | None, trial_limit: float | None, trials: int | None, max_steps: int | None
) -> None:
    """Raise UsageError for a limit that cannot be used."""
    for what, seconds in (("time budget", time_budget), ("limit of a trial", trial_limit)):
        if seconds is not None and not 0 < seconds < 10**8:
            raise UsageError(f"the {what} is a positive number of seconds", value=seconds)
    for what, number in (("trials", trials), ("training steps", max_steps)):
        if number is not None and number < 1:
            raise UsageError(f"the number of {what} must be at least 1", value=number)


def check_untrained(model: Path, evolution: Evolution, **options: Any) -> None:
    """Raise UsageError for an option of training, in a search over a file that is not trained."""
    usual = dataclasses.asdict(Evolution())
    given = [name for name, value in options.items() if value is not None]
    chosen = dataclasses.asdict(evolution).items()
    given += [f"de_{name}" for name, value in chosen if value != usual[name]]
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        have = "has" if len(given) == 1 else "have"
        what = f"{names} {have} no effect on this file: nothing is trained"
        raise UsageError(what, value=model)


def default_limit(time_budget: float | None) -> float | None:
    """The seconds that one trial may take: half of the budget, at least a minute."""
    return None if time_budget is None else max(_TRIAL_PART * time_budget, _LEAST)


def check_runtimes(goal: Goal, host: SshHost | None) -> None:
    """Raise MissingRuntimeError where a runtime is not available here, or on the host."""
    for runtime in goal.runtimes:
        python_of(runtime)
        if host is not None:
            with Runner(runtime, host=host):
                pass
