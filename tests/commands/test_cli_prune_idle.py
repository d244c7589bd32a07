"""Options that would do nothing are refused, not passed over."""

import pytest
from command_line import compressor


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (["--rounds", "2"], "--pruning-schedule iterative"),
        (["--ramp", "0.5"], "--pruning-schedule gradual"),
        (["--calibration", "64"], "--criterion taylor or reconstruct"),
        (["--temperature", "3"], "--distill"),
        (["--distill-weight", "0.5"], "--distill"),
        (["--no-retrain", "--distill"], "retraining"),
        (["--no-retrain", "--epochs", "1"], "retraining"),
    ],
)
def test_an_option_that_does_nothing(tmp_path, words, needed):
    message = compressor("prune", tmp_path / "none.keras", *words).refusal()
    assert f"has no effect without {needed}" in message
