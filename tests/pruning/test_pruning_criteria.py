"""By what weights are judged: |w|, |w x gradient|, and criteria that others bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import compressor
from compressor import Criterion, PruningSpec, register_criterion
from compressor.data import Dataset
from compressor.data.training_data import TrainingData
from compressor.errors import CompressorError, UsageError
from compressor.models.objective import objective_of
from compressor.pruning import criteria, magnitude_prune, rounds
from compressor.training.gradients import gradient_function

FEATURES, CLASSES = 6, 3


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))


@pytest.fixture(scope="module")
def points() -> Dataset:
    """1300 + 30 points of which some features say more than others."""
    generator = np.random.default_rng(2)

    def part(count):
        labels = generator.integers(0, CLASSES, count)
        x = generator.normal(0, 1, (count, FEATURES)).astype(np.float32)
        x[:, 0] += 2 * labels
        # Examples late in the order differ, so that a mean over batches would be another one.
        x[count // 2 :, 1] *= 4
        return x, labels

    return Dataset.from_arrays("points", *part(1300), *part(30))


@pytest.fixture
def regression(keras):
    """Softmax regression with weights that are not zero; compiled as the test wants."""

    def build(activation=None, **compiled):
        keras.utils.set_random_seed(8)
        layer = keras.layers.Dense(CLASSES, activation=activation, name="d")
        model = keras.Sequential([keras.Input((FEATURES,)), layer])
        if compiled:
            model.compile(**compiled)
        return model

    return build


def probabilities(x, weights, bias):
    scores = x.astype(np.float64) @ weights + bias
    exponent = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponent / exponent.sum(axis=1, keepdims=True)


def mean_gradients(*arguments):
    return gradient_function(*arguments)()


def gradients_by_hand(model, x, labels):
    """Of the mean cross-entropy: x^T (p - y) / n, and the mean of p - y."""
    weights, bias = (w.astype(np.float64) for w in model.get_layer("d").get_weights())
    error = probabilities(x, weights, bias) - np.eye(CLASSES)[labels]
    return x.T @ error / len(x), error.mean(axis=0)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("count", [1, 499, 500, 501, 1300])
def test_gradients_are_the_mean_over_all_examples(regression, points, count):
    model = regression()
    layer = model.get_layer("d")
    x, labels = points.x_train[:count], points.y_train[:count]
    found = mean_gradients(model, [layer.kernel, layer.bias], x, labels, objective_of(model))
    for one, expected in zip(found, gradients_by_hand(model, x, labels), strict=True):
        assert one.shape == expected.shape
        np.testing.assert_allclose(one, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    "loss", ["sparse_categorical_crossentropy", "categorical_crossentropy", "sum", "none"]
)
def test_gradients_of_compiled_losses(keras, regression, points, loss):
    if loss in ("sum", "none"):
        loss = keras.losses.SparseCategoricalCrossentropy(reduction=loss)
    model = regression("softmax", loss=loss)
    x, labels = points.x_train, points.y_train
    objective = objective_of(model)
    assert objective.source == "compiled"
    (found,) = mean_gradients(model, [model.get_layer("d").kernel], x, labels, objective)
    expected, _ = gradients_by_hand(model, x, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_gradients_of_squared_errors(regression, points):
    model = regression(loss="mse")
    x, labels = points.x_train, points.y_train
    weights, bias = model.get_layer("d").get_weights()
    error = x.astype(np.float64) @ weights + bias - np.eye(CLASSES)[labels]
    expected = x.T @ error * 2 / (len(x) * CLASSES)
    objective = objective_of(model, examples=(x, labels))
    (found,) = mean_gradients(model, [model.get_layer("d").kernel], x, labels, objective)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_gradients_are_taken_as_in_prediction(keras, regression, points):
    plain = regression()
    x = keras.Input((FEATURES,))
    dropped = keras.layers.Dropout(0.9)(keras.layers.BatchNormalization(epsilon=1e-9)(x))
    noisy = keras.Model(x, plain.get_layer("d")(dropped))
    found = [
        mean_gradients(
            model,
            [plain.get_layer("d").kernel],
            points.x_train,
            points.y_train,
            objective_of(model),
        )[0]
        for model in (plain, noisy)
    ]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)


def mask_of(found):
    return found.masks["d"]


def prune(model, data, **options):
    return compressor.prune(model, data, PruningSpec(0.5, **options), retrain=False)


@pytest.mark.parametrize("compiled", [{}, {"loss": "mse"}])
def test_taylor_keeps_what_the_loss_would_miss(regression, points, compiled):
    model = regression(**compiled)
    kernel = model.get_layer("d").kernel.numpy()
    x, labels = TrainingData.of(points).training_part()
    gradient, _ = gradients_by_hand(model, x, labels)
    if compiled:
        weights, bias = model.get_layer("d").get_weights()
        gradient = x.T @ (x.astype(np.float64) @ weights + bias - np.eye(CLASSES)[labels])
    expected = magnitude_prune(np.abs(kernel * gradient), 0.5).mask
    found = prune(model, points, criterion="taylor", calibration=10_000)
    np.testing.assert_array_equal(mask_of(found), expected)
    if not compiled:
        assert (mask_of(prune(model, points)) != expected).any()


def test_calibration_takes_as_many_examples_as_asked(regression, points, monkeypatch):
    seen = []
    original = rounds.gradient_function

    def watched(model, variables, x, labels, objective):
        seen.append(len(x))
        return original(model, variables, x, labels, objective)

    monkeypatch.setattr(rounds, "gradient_function", watched)
    for count in (7, 10_000):
        prune(regression(), points, criterion="taylor", calibration=count)
    prune(regression(), points)
    assert seen == [7, len(TrainingData.of(points).train)]


def test_a_registered_criterion_is_used(rejected, regression, points):
    small = Criterion("small", lambda weights, _: 1 / (1 + np.abs(weights)))
    register_criterion(small)
    register_criterion(small)
    model = regression()
    kernel = model.get_layer("d").kernel.numpy()
    found = prune(model, points, criterion="small")
    order = np.argsort(np.abs(kernel).ravel())
    assert set(np.flatnonzero(mask_of(found))) == set(order[: 18 - 9 - 1])
    assert found.layers[0]["threshold"] > 0
    assert "small" in criteria.criterion_names()
    other = Criterion("small", lambda weights, _: np.abs(weights))
    assert "already: small" in rejected(UsageError, register_criterion, other)
    assert "magnitude" in rejected(
        UsageError, register_criterion, Criterion("magnitude", small.score)
    )


def test_a_criterion_that_asks_for_gradients_gets_them(regression, points):
    given = []

    def score(weights, gradients):
        given.append((weights.shape, gradients.shape, float(np.abs(gradients).max())))
        return np.abs(gradients)

    register_criterion(Criterion("steep", score, needs_gradients=True))
    prune(regression(), points, criterion="steep")
    ((weights, gradients, largest),) = given
    assert weights == gradients == (FEATURES, CLASSES) and largest > 0


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (lambda w, _: np.abs(w)[:, :1], "scores do not have the weights' shape: bad (6, 1)"),
        (lambda w, _: w.sum(), "scores do not have the weights' shape"),
        (lambda w, _: np.full(w.shape, np.nan), "negative, NaN or infinite: bad"),
        (lambda w, _: np.full(w.shape, np.inf), "negative, NaN or infinite: bad"),
        (lambda w, _: -np.abs(w), "negative, NaN or infinite: bad"),
    ],
)
def test_scores_that_cannot_be_used(rejected, regression, points, score, said):
    register_criterion(Criterion("bad", score))
    model = regression()
    before = model.get_layer("d").kernel.numpy()
    assert said in rejected(CompressorError, prune, model, points, criterion="bad")
    np.testing.assert_array_equal(model.get_layer("d").kernel.numpy(), before)


@pytest.mark.slow
def test_what_went_before_stays_away_whatever_it_would_score_now(regression, points):
    # Zero weights would have the highest score of all.
    register_criterion(Criterion("small", lambda weights, _: 1 / (1 + np.abs(weights))))
    for schedule in ("gradual", "iterative"):
        spec = PruningSpec(0.7, criterion="small", schedule=schedule, rounds=3)
        options = compressor.TrainingOptions(steps=10, learning_rate=0.01)
        found = compressor.prune(regression(), points, spec, options=options)
        kernel = found.model.get_layer("d").kernel.numpy()
        assert np.count_nonzero(mask_of(found)) == 18 - 12 - 1
        assert kernel[mask_of(found)].all(), schedule


def install(folder: Path, module: str, code: str, entry: str) -> None:
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[compressor.criteria]\n{entry}\n")


CODE = """
import numpy
from compressor import Criterion
ROWS = Criterion("rows", lambda w, g: numpy.broadcast_to(numpy.arange(len(w))[:, None], w.shape))
"""


def test_a_criterion_of_an_installed_package(regression, points, tmp_path, monkeypatch):
    install(tmp_path, "scores_by_row", CODE, "rows = scores_by_row:ROWS")
    monkeypatch.syspath_prepend(tmp_path)
    assert {"magnitude", "rows", "taylor"} <= set(criteria.criterion_names())
    found = prune(regression(), points, criterion="rows")
    assert mask_of(found)[FEATURES // 2 :].sum() == 18 - 9 - 1
    assert not mask_of(found)[: FEATURES // 2].any()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import a_module_that_is_not_there", "cannot be loaded: rows (No module named"),
        ("1 / 0", "cannot be loaded: rows (division by zero)"),
        ("ROWS = 3", "the entry point is not a Criterion"),
        ("", "cannot be loaded: rows"),
    ],
)
def test_a_package_that_is_broken(rejected, tmp_path, monkeypatch, code, said):
    module = f"broken_{abs(hash(code))}"
    install(tmp_path, module, code, f"rows = {module}:ROWS")
    monkeypatch.syspath_prepend(tmp_path)
    assert said in rejected(UsageError, PruningSpec, 0.5, criterion="rows")
