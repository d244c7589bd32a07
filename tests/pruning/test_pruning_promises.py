"""Promises that are easily broken: earlier rounds, coupled layers, criteria of the user's."""

from __future__ import annotations

import numpy as np
import pytest

import compressor
from compressor import Criterion, PruningSpec
from compressor.errors import UsageError
from compressor.pruning import criteria
from compressor.pruning.plan import make_plan
from compressor.training.loop import TrainingOptions

SHORT = TrainingOptions(steps=10, batch_size=16)


@pytest.fixture
def criterion(monkeypatch):
    """Register a criterion for one test."""
    monkeypatch.setattr(criteria, "_CRITERIA", dict(criteria._CRITERIA))

    def register(score):
        compressor.register_criterion(Criterion("own", score))
        return "own"

    return register


def nonzeros(model):
    return {
        layer.name: int(np.count_nonzero(layer.kernel.numpy()))
        for layer in model.layers
        if hasattr(layer, "kernel")
    }


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_what_a_round_removed_stays_away_whatever_the_criterion(
    criterion, small_net, tiny_data, granularity
):
    generator = np.random.default_rng(1)
    name = criterion(lambda weights, _: generator.random(weights.shape))
    spec = PruningSpec(
        0.6,
        layers=("hidden",),
        granularity=granularity,
        criterion=name,
        schedule="iterative",
        rounds=4,
    )
    found = compressor.prune(small_net(), tiny_data, spec, options=SHORT)
    (row,) = found.layers
    if granularity == "weight":
        assert nonzeros(found.model)["hidden"] == row["kept"] == 64 * 12 - 460 - 1
    else:
        assert found.model.get_layer("hidden").units == row["units_kept"] == 12 - 7


@pytest.mark.sampled(1)
@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
def test_scores_may_be_whole_numbers(criterion, small_net, tiny_data, schedule):
    name = criterion(lambda weights, _: (100 * np.abs(weights)).astype(np.uint8))
    spec = PruningSpec(0.5, layers=("scores",), criterion=name, schedule=schedule)
    found = compressor.prune(small_net(), tiny_data, spec, options=SHORT)
    assert found.layers[0]["kept"] == 48 - 24 - 1


def test_a_criterion_that_fails_is_named(criterion, rejected, small_net, tiny_data):
    name = criterion(lambda weights, _: weights["nothing"])
    spec = PruningSpec(0.5, criterion=name)
    message = rejected(UsageError, compressor.prune, small_net(), tiny_data, spec, retrain=False)
    assert "the criterion failed: own" in message


@pytest.mark.slow
def test_a_kernel_of_its_own_sparsity(keras):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((8, 8)), layers.LSTM(8, name="lstm"), layers.Dense(4, name="out")]
    )
    rows = np.random.default_rng(0).random((40, 8, 8), np.float32)
    data = compressor.Dataset.from_arrays("rows", rows, np.arange(40) % 4, rows, np.arange(40) % 4)
    spec = PruningSpec({"lstm": 0.5, "lstm:recurrent_kernel": 0.9})
    found = compressor.prune(model, data, spec, retrain=False)
    kept = {row["layer"]: row["kept"] for row in found.layers}
    assert kept == {"lstm": 256 - 128 - 1, "lstm:recurrent_kernel": 256 - 230 - 1}


@pytest.fixture
def coupled(keras):
    layers = keras.layers
    keras.utils.set_random_seed(2)
    x = keras.Input((8, 8, 1))
    first = layers.ReLU()(layers.Conv2D(8, 3, padding="same", name="c1")(x))
    second = layers.Conv2D(8, 3, padding="same", name="c2")(first)
    y = layers.DepthwiseConv2D(3, name="dw")(layers.Add()([first, second]))
    return keras.Model(x, layers.Dense(4, name="out")(layers.Flatten()(y)))


@pytest.mark.slow
def test_a_coupled_layer_that_nobody_named_goes_along_gradually(coupled, tiny_data):
    spec = PruningSpec({"c1": 0.5}, granularity="channel", schedule="gradual")
    found = compressor.prune(coupled, tiny_data, spec, options=SHORT)
    assert [found.model.get_layer(name).filters for name in ("c1", "c2")] == [4, 4]


def test_what_is_narrowed_along_is_not_said_to_be_left_alone(coupled, tiny_data):
    spec = PruningSpec(0.5, granularity="channel")
    found = compressor.prune(coupled, tiny_data, spec, retrain=False)
    assert tuple(found.model.get_layer("dw").kernel.shape) == (3, 3, 4, 1)
    assert set(found.left_alone) == {"out"}


def test_a_layer_with_one_kernel_that_cannot_be_pruned_so(keras, tiny_data):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.SeparableConv2D(8, 3, depth_multiplier=4, name="sep"),
            layers.Flatten(),
            layers.Dense(4, name="out"),
        ]
    )
    spec = PruningSpec(0.5, layers=("sep",), granularity="1x4")
    found = compressor.prune(model, tiny_data, spec, retrain=False)
    assert [row["layer"] for row in found.layers] == ["sep"]


def test_another_name_beside_all_is_checked(rejected, small_net, tiny_data):
    spec = PruningSpec(0.5, layers=("all", "hiden"))
    message = rejected(UsageError, compressor.prune, small_net(), tiny_data, spec, retrain=False)
    assert "did you mean hidden" in message


def test_the_model_is_given_back_without_masks_and_apply_masks_puts_them_on(
    small_net, tiny_data, keras
):
    found = compressor.prune(small_net(), tiny_data, PruningSpec(0.5), retrain=False)
    assert all(variable.constraint is None for variable in found.model.trainable_variables)
    compressor.apply_masks(found.model, found.masks)
    found.model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = tiny_data.x_train[..., None] / np.float32(255)
    found.model.fit(x, tiny_data.y_train, verbose=0)
    assert nonzeros(found.model) == {row["layer"]: row["kept"] for row in found.layers}


@pytest.fixture
def run(small_file, tiny_data, tmp_path):
    def prune(spec, *, steps=8, **options):
        plan = make_plan(
            tiny_data,
            sparsities=(spec.highest_sparsity,),
            steps=steps,
            batch_size=16,
            validation=16,
        )
        return compressor.prune_run(small_file, tmp_path / "run", spec, plan, **options)

    return prune


def test_a_mistake_leaves_nothing_behind(rejected, run, tmp_path):
    for schedule in ("one-shot", "gradual", "iterative"):
        spec = PruningSpec(0.5, layers=("nope",), schedule=schedule)
        rejected(UsageError, run, spec)
        assert not (tmp_path / "run").exists()


def test_a_forced_pruning_that_cannot_begin_keeps_the_one_before(rejected, run, tmp_path):
    run(PruningSpec(0.5))
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    gradual = PruningSpec(0.5, schedule="gradual")
    assert "too few steps" in rejected(UsageError, run, gradual, steps=1, force=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


@pytest.mark.slow
def test_a_forced_pruning_leaves_nothing_of_the_one_before(run, tmp_path):
    steps = {"dense", "step_2_1", "step_2_2"}

    def folders():
        return {path.name for path in (tmp_path / "run").iterdir() if path.is_dir()}

    run(PruningSpec(0.5, schedule="iterative", rounds=2))
    assert folders() == steps | {"round-1"}
    run(PruningSpec(0.5), force=True)
    assert folders() == steps
    run(PruningSpec(0.5, schedule="gradual"), force=True)
    assert folders() == {"dense", "step_2_2"}


def test_a_model_that_is_no_classifier_can_be_shrunk(keras, tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, padding="same", activation="relu", name="in"),
            layers.Conv2D(1, 3, padding="same", name="out"),
        ]
    )
    kernel = model.get_layer("out").kernel
    kernel.assign(np.where(np.arange(4).reshape(1, 1, 4, 1) == 2, 0, kernel.numpy()))
    model.compile("adam", "mse")
    model.save(tmp_path / "autoencoder.keras")
    record = compressor.shrink_file(tmp_path / "autoencoder.keras")
    assert record["removed"] == {"in": 1}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_a_model_in_bfloat16(keras, tiny_data, granularity):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(12, "relu", name="hidden", dtype="bfloat16"),
            layers.Dense(4, name="scores", dtype="bfloat16"),
        ]
    )
    spec = PruningSpec(0.5, layers=("hidden",), granularity=granularity)
    found = compressor.prune(model, tiny_data, spec, options=SHORT)
    kernel = np.asarray(found.model.get_layer("hidden").kernel.numpy(), np.float32)
    # So coarse a number may become zero by itself.
    if granularity == "channel":
        assert kernel.shape == (64, 6)
    else:
        assert 370 <= np.count_nonzero(kernel) <= 383


@pytest.mark.parametrize(
    ("model", "data", "said"),
    [("model.keras", None, "prune_run"), (None, "data.npz", "load_dataset")],
)
def test_paths_where_a_model_or_data_belong(rejected, small_net, tiny_data, model, data, said):
    message = rejected(UsageError, compressor.prune, model or small_net(), data or tiny_data)
    assert said in message


def test_a_small_data_set_is_retrained_for_as_many_batches_as_mnist(tiny_data):
    few = make_plan(tiny_data, sparsities=(0.9,)).retraining[0.9]
    assert few.steps == round(1.2 * 55_000 / 128)
    assert make_plan(tiny_data, sparsities=(0.9,), epochs=2).retraining[0.9].steps == 1
