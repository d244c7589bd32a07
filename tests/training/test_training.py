"""Training: how long, from which numbers, and what it leaves behind."""

import dataclasses

import numpy as np
import pytest

from compressor import training
from compressor.errors import ModelError, UsageError
from compressor.models import accuracy_of, predict_scores
from compressor.pruning.rounds import with_scaled_dropout
from compressor.training.loop import TrainingOptions

SHORT = TrainingOptions(steps=7, batch_size=20, learning_rate=0.01, schedule="constant")


def fit(model, data, options=SHORT, seed=1, **extra):
    training.fit(model, data.x_train, data.y_train, options, seed=seed, **extra)
    return [weight.numpy() for weight in model.weights]


@pytest.fixture(scope="module")
def dropout_net(keras, tmp_path_factory):
    """Load the same model with dropout, random state and all, again and again."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dropout(0.5, name="drop"),
            layers.Dense(4),
        ]
    )
    path = tmp_path_factory.mktemp("dropout") / "model.keras"
    model.save(path)
    return lambda: keras.saving.load_model(path, compile=False)


def test_as_many_steps_as_asked_and_each_is_heard(small_net, tiny_data):
    model, heard = small_net(), []
    # 7 batches of 20 are more than the 96 images: the second epoch is cut.
    fit(model, tiny_data, progress=lambda *report: heard.append(report))
    assert model.optimizer.iterations.numpy() == 7
    assert [report[:2] for report in heard] == [(step, 7) for step in range(1, 8)]
    assert all(np.isfinite(loss) and 0 <= accuracy <= 1 for _, _, loss, accuracy in heard)


@pytest.mark.slow
def test_it_learns(small_net, tiny_data):
    model = small_net()
    before = accuracy_of(model, tiny_data.x_test, tiny_data.y_test)
    fit(model, tiny_data, TrainingOptions(steps=40, batch_size=32, learning_rate=0.01))
    after = accuracy_of(model, tiny_data.x_test, tiny_data.y_test)
    assert before < 0.7 < 0.95 < after


def test_a_step_is_traced_once(keras, tiny_data):
    calls = []

    class Counted(keras.layers.Layer):
        def call(self, inputs, training=False):
            calls.append(training)
            return inputs

    layers = [keras.Input((8, 8)), keras.layers.Flatten(), Counted(), keras.layers.Dense(4)]
    model = keras.Sequential(layers)
    fit(model, tiny_data)
    assert calls.count(True) == 1


@pytest.fixture(scope="module")
def trained_with_dropout(dropout_net, tiny_data):
    return fit(dropout_net(), tiny_data, seed=5)


def same(first, second):
    return all((a == b).all() for a, b in zip(first, second, strict=True))


def test_one_seed_gives_one_model_bit_for_bit_and_another_seed_another(
    keras, dropout_net, trained_with_dropout, tiny_data
):
    # Whatever the process did before, and although the file has no state of dropout.
    keras.utils.set_random_seed(77)
    assert same(trained_with_dropout, fit(dropout_net(), tiny_data, seed=5))
    assert not same(trained_with_dropout, fit(dropout_net(), tiny_data, seed=6))


def test_dropout_is_scaled_meanwhile_and_then_as_before(
    dropout_net, trained_with_dropout, tiny_data
):
    model, rates = dropout_net(), set()
    options = dataclasses.replace(SHORT, dropout_scale=0.4)
    drop = model.get_layer("drop")
    scaled = fit(model, tiny_data, options, seed=5, progress=lambda *_: rates.add(drop.rate))
    assert rates == {0.2} and drop.rate == 0.5
    assert not same(trained_with_dropout, scaled)


def test_dropout_is_as_before_when_training_fails(dropout_net, tiny_data):
    model = dropout_net()

    def fail(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, tiny_data, dataclasses.replace(SHORT, dropout_scale=0.4), progress=fail)
    assert model.get_layer("drop").rate == 0.5


@pytest.mark.parametrize(("density", "scale"), [(1.0, 1.0), (0.25, 0.5), (0.0, 0.0)])
def test_how_far_dropout_shrinks(density, scale):
    # Han et al., equation 4: the square root of the density.
    base = TrainingOptions(steps=1)
    assert with_scaled_dropout(base, density) == dataclasses.replace(base, dropout_scale=scale)


def test_a_loss_that_is_no_number_ends_in_one_line(rejected, keras, tiny_data):
    model = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(4)])
    model.layers[-1].kernel.assign(np.full((64, 4), 3e38, np.float32))
    heard = []
    message = rejected(
        ModelError, fit, model, tiny_data, progress=lambda *report: heard.append(report)
    )
    assert "step 1" in message and "learning rate" in message and not heard


@pytest.mark.slow
def test_a_learning_rate_that_is_too_large(rejected, keras, tiny_data):
    model = keras.Sequential(
        [keras.Input((8, 8)), keras.layers.Flatten()]
        + [keras.layers.Dense(16) for _ in range(10)]
        + [keras.layers.Dense(4)]
    )
    options = TrainingOptions(steps=80, batch_size=8, learning_rate=9.9, schedule="constant")
    assert "NaN or infinite" in rejected(ModelError, fit, model, tiny_data, options)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("rewind", [None, 1])
def test_a_training_of_one_step_trains(small_net, tiny_data, rewind):
    model = small_net()
    before = model.get_weights()
    fit(model, tiny_data, TrainingOptions(steps=1, batch_size=32, rewind=rewind))
    for old, new in zip(before, model.get_weights(), strict=True):
        assert not np.array_equal(old, new)


def test_the_learning_rate_rises_then_falls_to_zero(small_net, tiny_data):
    model = small_net()
    fit(model, tiny_data, TrainingOptions(steps=40, batch_size=4, learning_rate=0.01))
    schedule = model.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(41)]
    assert rates[:3] == pytest.approx([1e-4, 5.05e-3, 0.01]) and rates[40] == 0
    assert rates[21] == pytest.approx(0.005, rel=0.05)
    assert rates[2:] == sorted(rates[2:], reverse=True)


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({"steps": 0}, "0"),
        ({"batch_size": 0}, "0"),
        ({"learning_rate": 0.0}, "0.0"),
        ({"learning_rate": float("nan")}, "nan"),
        ({"learning_rate": 10.0}, "10.0"),
        ({"schedule": "linear"}, "linear"),
        ({"dropout_scale": 1.5}, "1.5"),
    ],
)
def test_options_that_cannot_be(rejected, change, value):
    assert value in rejected(UsageError, TrainingOptions, **({"steps": 1} | change))


def test_options_are_described_in_full():
    assert TrainingOptions(steps=3, batch_size=5).describe() == {
        "steps": 3,
        "batch_size": 5,
        "learning_rate": 0.002,
        "learning_rate_schedule": "cosine",
        "dropout_scale": 1.0,
    }
    assert TrainingOptions(steps=3, batch_size=5).images == 15


@pytest.mark.slow
def test_seeds_depend_on_the_purpose_and_on_the_seed_alone():
    seeds = [training.derive_seed(seed, use) for seed in (0, 1) for use in ("a", "b")]
    assert len(set(seeds)) == 4
    assert seeds == [training.derive_seed(seed, use) for seed in (0, 1) for use in ("a", "b")]
    assert all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.slow
def test_training_and_evaluation_scale_alike(small_net, tiny_data):
    as_bytes = fit(small_net(), tiny_data)
    model = small_net()
    scaled = tiny_data.x_train.astype(np.float32) / 255
    training.fit(model, scaled, tiny_data.y_train, SHORT, seed=1)
    for a, b in zip(as_bytes, model.weights, strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-5)


def test_scores_are_predicted_in_parts():
    scores = np.eye(4, dtype=np.float32)
    images = np.arange(4, dtype=np.float32).reshape(4, 1)
    seen = []

    def predict(x):
        seen.append(x.shape)
        return scores[x[:, 0].astype(int)]

    found = predict_scores(predict, images, lambda x: x, batch=3)
    np.testing.assert_array_equal(found, scores)
    assert seen == [(3, 1), (1, 1)]


def test_accuracy_is_that_of_all_parts(small_net, tiny_data):
    model = small_net()
    x = tiny_data.x_test.astype(np.float32)[..., None] / 255
    expected = np.mean(np.asarray(model(x)).argmax(-1) == tiny_data.y_test)
    assert 0 < expected < 1
    assert accuracy_of(model, tiny_data.x_test, tiny_data.y_test) == expected


def test_a_training_whose_order_would_fill_the_memory_is_refused(rejected):
    message = rejected(UsageError, TrainingOptions, steps=10**9, batch_size=32)
    assert "1000000000 steps of 32" in message
