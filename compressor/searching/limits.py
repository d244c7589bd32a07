"""How long a search and its trials may take."""

from __future__ import annotations

from compressor.errors import UsageError

_TRIAL_PART, _LEAST = 0.5, 60.0


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


def default_limit(time_budget: float | None) -> float | None:
    """The seconds that one trial may take: half of the budget, at least a minute."""
    return None if time_budget is None else max(_TRIAL_PART * time_budget, _LEAST)
