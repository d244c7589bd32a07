"""Learning-rate rewinding: the retraining repeats the last steps of the training's schedule."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

import compressor
from compressor import PruningSpec, training
from compressor.errors import UsageError
from compressor.models.files import save_model
from compressor.pruning.plan import make_plan
from compressor.training.loop import TrainingOptions


def observed_rates(model, data, options):
    rates = []
    training.fit(
        model,
        data.x_train,
        data.y_train,
        options,
        seed=1,
        progress=lambda *_: rates.append(float(model.optimizer.learning_rate)),
    )
    return rates


def original_rates(keras, steps, rate):
    """As stock Keras gives them: 5 % warm-up from 1 % of the peak, then a half cosine to zero."""
    warmup = max(round(steps * 0.05), 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 100, max(steps - warmup, 1), warmup_target=rate, warmup_steps=warmup
    )
    if steps == 1:  # the one step is at the peak
        return [rate]
    return [float(schedule(step)) for step in range(steps)]


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "original"), [(15, 60), (1, 60), (60, 60), (50, 60)])
def test_each_step_has_the_rate_of_the_originals_last_steps(
    keras, small_net, tiny_data, steps, original
):
    options = TrainingOptions(steps=steps, batch_size=8, learning_rate=0.01, rewind=original)
    expected = original_rates(keras, original, 0.01)[original - steps :]
    found = observed_rates(small_net(), tiny_data, options)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
    told = [options.learning_rate_at(step) for step in range(steps)]
    np.testing.assert_allclose(told, expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 2, 40])
def test_the_rate_of_each_step_is_told_as_it_is(keras, steps):
    options = TrainingOptions(steps=steps, batch_size=4, learning_rate=0.01)
    told = [options.learning_rate_at(step) for step in range(steps)]
    np.testing.assert_allclose(told, original_rates(keras, steps, 0.01), rtol=1e-4, atol=1e-8)


@pytest.mark.slow
def test_a_constant_schedule_is_repeated_as_a_constant(small_net, tiny_data):
    options = TrainingOptions(
        steps=5, batch_size=8, learning_rate=0.01, schedule="constant", rewind=30
    )
    assert observed_rates(small_net(), tiny_data, options) == pytest.approx([0.01] * 5)


@pytest.mark.slow
def test_a_retraining_longer_than_the_training_goes_on_learning(small_net, tiny_data):
    options = TrainingOptions(steps=20, batch_size=8, learning_rate=0.01, rewind=10)
    rates = observed_rates(small_net(), tiny_data, options)
    assert sum(rate > 0 for rate in rates) >= 18


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
def test_the_saved_model_loads_in_stock_keras(keras, small_net, tiny_data, tmp_path, schedule):
    options = TrainingOptions(steps=10, batch_size=16, learning_rate=0.01, rewind=40)
    spec = PruningSpec(0.5, schedule=schedule)
    found = compressor.prune(small_net(), tiny_data, spec, options=options)
    save_model(found.model, tmp_path / "model.keras")
    stock = keras.saving.load_model(tmp_path / "model.keras", compile=True)
    assert int(stock.optimizer.iterations.numpy()) == 10
    expected = original_rates(keras, 40, 0.01)[-1]
    assert float(stock.optimizer.learning_rate) == pytest.approx(expected, rel=1e-4)
    x = tiny_data.x_train.astype(np.float32)[..., None] / 255
    stock.fit(x, tiny_data.y_train, batch_size=32, verbose=0)


def test_a_plan_rewinds_to_its_training(tiny_data):
    plan = make_plan(tiny_data, sparsities=(0.5, 0.9), rewind=True, batch_size=4)
    for options in plan.retraining.values():
        assert options.rewind == plan.training.steps
        # Not the gentle rate of a retraining: the training's own.
        assert options.learning_rate == plan.training.learning_rate
        assert options.describe()["rewind"] == plan.training.steps
    plain = make_plan(tiny_data, sparsities=(0.5,), batch_size=4)
    assert "rewind" not in plain.retraining[0.5].describe()


@pytest.mark.slow
def test_what_makes_up_for_what_went_is_retrained_more_gently(small_net, tiny_data, tmp_path):
    """By least squares little is lost at 80 %, and large steps only undo what was trained."""
    small_net().save(tmp_path / "model.keras")
    rates = {}
    for criterion in ("magnitude", "reconstruct"):
        spec = PruningSpec(0.8, criterion=criterion)
        plan = make_plan(
            tiny_data, sparsities=(0.8,), learning_rate=0.01, steps=2, repaired=spec.repairs
        )
        run = tmp_path / criterion
        compressor.prune_run(tmp_path / "model.keras", run, spec, plan)
        config = json.loads((run / "step_2_2" / "record.json").read_text())["config"]
        rates[criterion] = config["learning_rate"]
    assert rates["magnitude"] == pytest.approx(0.008)
    assert rates["reconstruct"] == pytest.approx(0.01 * 0.8**10)
    least = make_plan(tiny_data, sparsities=(0.5,), learning_rate=0.01, repaired=True)
    assert least.retraining[0.5].learning_rate == pytest.approx(0.001)


def test_epochs_are_the_length_of_the_retraining(rejected, tiny_data):
    plan = make_plan(tiny_data, sparsities=(0.5, 0.9), epochs=2.5, batch_size=8, validation=16)
    assert {options.steps for options in plan.retraining.values()} == {25}
    assert plan.training.steps == 30
    assert "given twice" in rejected(UsageError, make_plan, tiny_data, epochs=1, steps=3)
    for bad in (0, -1, 10_001, float("nan")):
        assert "between 0 and 10,000" in rejected(UsageError, make_plan, tiny_data, epochs=bad)


def test_there_must_be_a_training_to_rewind_to(rejected):
    message = rejected(UsageError, TrainingOptions, steps=1, rewind=0)
    assert "at least 1 step: 0" in message
    options = TrainingOptions(steps=3, rewind=9)
    assert dataclasses.replace(options, rewind=None).describe().keys() == (
        options.describe().keys() - {"rewind"}
    )
