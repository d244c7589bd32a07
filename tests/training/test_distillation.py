"""Learning from a dense model's scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import compressor
from compressor import Distillation, PruningSpec, training
from compressor.data import Dataset
from compressor.errors import UsageError
from compressor.models import accuracy_of
from compressor.models.files import save_model
from compressor.models.objective import objective_of
from compressor.training.distillation import as_logits, distilled_targets
from compressor.training.loop import TrainingOptions

OPTIONS = TrainingOptions(steps=80, batch_size=32, learning_rate=0.01)


@pytest.fixture(scope="module")
def halves(tiny_data) -> Dataset:
    return Dataset.from_arrays(
        "halves", tiny_data.x_train, tiny_data.y_train % 2, tiny_data.x_test, tiny_data.y_test % 2
    )


@pytest.fixture(scope="module")
def net(keras):
    def build(units=4, activation=None, seed=1):
        layers = keras.layers
        keras.utils.set_random_seed(seed)
        return keras.Sequential(
            [
                keras.Input((8, 8)),
                layers.Flatten(),
                layers.Dense(12, activation="relu"),
                layers.Dense(units, activation=activation, name="scores"),
            ]
        )

    return build


def scores_of(model, x):
    return np.asarray(model(x.astype(np.float32) / 255))


@pytest.fixture(scope="module")
def taught(net, tiny_data, halves):
    """A trained teacher, its data, and a student of another start trained on shuffled labels."""

    def run(units=4, activation=None, distillation=None):
        data = tiny_data if units > 1 else halves
        teacher, student = net(units, activation), net(units, activation, seed=2)
        training.fit(teacher, data.x_train, data.y_train, OPTIONS, seed=1)
        shuffled = np.random.default_rng(0).permutation(data.y_train)
        training.fit(
            student,
            data.x_train,
            shuffled,
            dataclasses.replace(OPTIONS, distillation=distillation),
            seed=1,
            teacher=scores_of(teacher, data.x_train),
        )
        return data, teacher, student

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "activation"), [(4, None), (4, "softmax"), (1, None), (1, "sigmoid")]
)
def test_a_student_follows_its_teacher_and_not_the_labels(taught, units, activation):
    data, teacher, student = taught(units, activation, Distillation(1.0, 2.0))
    expected, found = (scores_of(model, data.x_test) for model in (teacher, student))
    assert accuracy_of(student, data.x_test, data.y_test) > 0.9
    objective = objective_of(student)
    agree = objective.predictions(expected) == objective.predictions(found)
    assert agree.mean() > 0.9
    before = np.corrcoef(expected.ravel(), found.ravel())[0, 1]
    assert before > 0.8


@pytest.mark.slow
def test_without_a_teacher_the_same_labels_teach_nothing(taught):
    data, _, student = taught()
    assert accuracy_of(student, data.x_test, data.y_test) < 0.6


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("weight", "temperature"), [(1.0, 1.0), (0.7, 4.0), (0.25, 0.5)])
def test_the_loss_is_that_of_hinton(net, tiny_data, weight, temperature):
    teacher, student = net(), net(seed=2)
    x, labels = tiny_data.x_test, tiny_data.y_test
    of_teacher, of_student = (scores_of(m, x).astype(np.float64) for m in (teacher, student))
    soft, softened = softmax(of_teacher / temperature), softmax(of_student / temperature)
    divergence = (soft * np.log(soft / softened)).sum(axis=1).mean()
    hard = -np.log(softmax(of_student)[np.arange(len(x)), labels]).mean()
    heard = []
    options = TrainingOptions(
        steps=1,
        batch_size=len(x),
        learning_rate=1e-6,
        distillation=Distillation(weight, temperature),
    )
    training.fit(
        student,
        x,
        labels,
        options,
        seed=1,
        teacher=scores_of(teacher, x),
        progress=lambda step, steps, loss, accuracy: heard.append((loss, accuracy)),
    )
    expected = (1 - weight) * hard + weight * temperature**2 * divergence
    assert heard[0][0] == pytest.approx(expected, rel=1e-4)
    assert heard[0][1] == pytest.approx((of_student.argmax(1) == labels).mean())


def test_probabilities_and_single_scores_become_logits(net):
    scores = np.array([[2.0, -1.0, 0.5, 0.0]], np.float32)
    probabilities = softmax(scores)
    found = np.asarray(as_logits(probabilities, objective_of(net(4, "softmax"))))
    np.testing.assert_allclose(softmax(found), probabilities, rtol=1e-5)
    one = np.array([[0.75]], np.float32)
    found = np.asarray(as_logits(one, objective_of(net(1, "sigmoid"))))
    np.testing.assert_allclose(softmax(found), [[0.25, 0.75]], rtol=1e-5)
    found = np.asarray(as_logits(np.log(3 * np.ones((1, 1), np.float32)), objective_of(net(1))))
    np.testing.assert_allclose(softmax(found), [[0.25, 0.75]], rtol=1e-5)
    for extreme in (0.0, 1.0):
        column = np.full((2, 1), extreme, np.float32)
        assert np.isfinite(as_logits(column, objective_of(net(1, "sigmoid")))).all()
    targets = distilled_targets(np.array([3]), scores, objective_of(net()))
    np.testing.assert_array_equal(targets, [[3, 2.0, -1.0, 0.5, 0.0]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "activation", "loss"),
    [
        (4, None, "sparse_categorical_crossentropy"),
        (4, "softmax", "categorical_crossentropy"),
        (1, "sigmoid", "binary_crossentropy"),
    ],
)
def test_the_saved_model_has_the_normal_loss(
    keras, net, tiny_data, halves, tmp_path, units, activation, loss
):
    data = tiny_data if units > 1 else halves
    model = net(units, activation)
    if loss == "categorical_crossentropy":
        model.compile(loss=loss, metrics=["accuracy"])
    options = dataclasses.replace(OPTIONS, distillation=Distillation())
    found = compressor.prune(model, data, PruningSpec(0.5), options=options)
    save_model(found.model, tmp_path / "model.keras")
    stock = keras.saving.load_model(tmp_path / "model.keras", compile=True)
    config = stock.get_compile_config()
    named = config["loss"] if isinstance(config["loss"], str) else config["loss"]["config"]["name"]
    assert named == loss
    assert int(stock.optimizer.iterations.numpy()) == OPTIONS.steps
    labels = data.y_test
    if loss == "categorical_crossentropy":
        labels = np.eye(4)[labels]
    x = data.x_test.astype(np.float32) / 255
    result = stock.evaluate(
        x, labels if units > 1 else labels[:, None], verbose=0, return_dict=True
    )
    assert result["accuracy"] == pytest.approx(found.accuracy)
    assert np.isfinite(result["loss"])


@pytest.mark.slow
def test_pruning_distils_from_the_dense_model(net, tiny_data):
    """With shuffled labels only the dense model knows what is right."""
    teacher = net()
    training.fit(teacher, tiny_data.x_train, tiny_data.y_train, OPTIONS, seed=1)
    shuffled = Dataset.from_arrays(
        "shuffled",
        tiny_data.x_train,
        np.random.default_rng(0).permutation(tiny_data.y_train),
        tiny_data.x_test,
        tiny_data.y_test,
    )
    for schedule in ("one-shot", "gradual"):
        spec = PruningSpec(0.6, schedule=schedule)
        alone, taught = (
            compressor.prune(
                teacher, shuffled, spec, options=dataclasses.replace(OPTIONS, distillation=how)
            ).accuracy
            for how in (None, Distillation(1.0, 2.0))
        )
        assert taught > 0.85 and taught > alone + 0.2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight": 0.0}, "above 0 and at most 1: 0.0"),
        ({"weight": 1.5}, "above 0 and at most 1: 1.5"),
        ({"weight": float("nan")}, "nan"),
        ({"temperature": 0.0}, "between 0.1 and 100: 0.0"),
        ({"temperature": 101}, "between 0.1 and 100: 101"),
    ],
)
def test_distillations_that_cannot_be(rejected, options, said):
    assert said in rejected(UsageError, Distillation, **options)


def test_distillation_without_a_teacher(rejected, net, tiny_data):
    options = dataclasses.replace(OPTIONS, distillation=Distillation())
    message = rejected(
        UsageError, training.fit, net(), tiny_data.x_train, tiny_data.y_train, options, seed=1
    )
    assert "teacher" in message


def test_distillation_is_described():
    options = dataclasses.replace(OPTIONS, distillation=Distillation(0.5, 3.0))
    assert options.describe()["distillation"] == {"weight": 0.5, "temperature": 3.0}
    assert "distillation" not in OPTIONS.describe()
