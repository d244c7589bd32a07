"""A few hundred damaged inputs for all that reads what others wrote; `make fuzz` has more."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from fuzz_faulty import TARGETS as FAULTY
from fuzz_targets import TARGETS
from fuzzing import MOST_RESIDENT, Outcome, run_child

SEED = 1
QUICK = [name for name, target in TARGETS.items() if target.quick]
LONG = [name for name, target in TARGETS.items() if not target.quick]
MANY = 20_000


def outcomes(shares: list[tuple[str, int, int]], **options: object) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {name: Outcome(name) for name, *_ in shares}
    for outcome in run_child(shares, SEED, **options):  # type: ignore[arg-type]
        found[outcome.target].add(outcome)
    return found


@pytest.fixture(scope="module")
def tried() -> dict[str, Outcome]:
    return outcomes([(name, 0, TARGETS[name].quick) for name in QUICK])


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_every_input_is_taken_or_refused_in_one_line(tried: dict[str, Outcome], name: str) -> None:
    _check(tried[name], TARGETS[name].quick)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_many_inputs(name: str) -> None:
    count = max(1, int(MANY * TARGETS[name].share / 8))
    _check(outcomes([(name, 10**6, count)])[name], count)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_what_needs_keras(name: str) -> None:
    _check(outcomes([(name, 0, 500)])[name], 500)


def _check(outcome: Outcome, count: int) -> None:
    assert not outcome.faults, "\n\n".join(outcome.faults.values())
    assert outcome.inputs == count
    assert outcome.refused > count // 10
    assert outcome.peak < MOST_RESIDENT


SAID = {
    "traceback": "ZeroDivisionError",
    "memory": "MemoryError",
    "line": "two\\nlines",
    "length": "xxxxx",
    "outside": "did open",
    "link": "did os.symlink",
    "process": "did subprocess.Popen",
    "pickle": "did pickle.find_class",
    "output": "noise",
    "crash": "ended the process with 7",
    "hang": "took too many seconds",
}


@pytest.fixture(scope="module")
def caught() -> dict[str, Outcome]:
    shares = [(name, 100, 6) for name in FAULTY]
    found = outcomes(shares, module="fuzz_faulty", cpu_seconds=0.5)
    for name in ("fuzz-outside", "fuzz-link"):
        (Path(tempfile.gettempdir()) / name).unlink(missing_ok=True)
    return found


@pytest.mark.parametrize("name", FAULTY)
def test_what_no_input_may_do_is_named_by_its_number(caught: dict[str, Outcome], name: str) -> None:
    outcome = caught[name]

    assert outcome.inputs == 6
    if name == "sound":
        assert not outcome.faults and outcome.refused == 3
        return
    (fault,) = outcome.faults.values()
    assert fault.startswith(f"{name} 103:") and SAID[name] in fault


@pytest.mark.slow
def test_an_input_is_the_same_again() -> None:
    whole = outcomes([("tflite", 0, 40)])["tflite"]
    parts = outcomes([("tflite", 0, 15), ("tflite", 15, 25)])["tflite"]

    assert (whole.inputs, whole.refused) == (parts.inputs, parts.refused)
