"""Masked weights stay exactly zero, whatever trains the model, and the file stays stock Keras."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from compressor import training
from compressor.errors import CheckpointError
from compressor.models.files import save_model
from compressor.pruning import apply_masks, load_masks, magnitude_prune
from compressor.pruning.masks import remove_masks, save_masks
from compressor.training.loop import TrainingOptions

OPTIONS = TrainingOptions(steps=12, batch_size=16, learning_rate=0.02, schedule="constant")


def masks_of(model, sparsity=0.75):
    return {
        name: magnitude_prune(model.get_layer(name).kernel.numpy(), sparsity).mask
        for name in ("hidden", "scores")
    }


def assert_masked_and_trained(model, masks, before):
    for name, mask in masks.items():
        kernel = model.get_layer(name).kernel.numpy()
        assert not kernel[~mask].view(np.uint32).any(), "a masked weight is not +0"
        assert (kernel[mask] != before[name][mask]).mean() > 0.5, "what is kept must go on learning"


def kernels(model):
    return {name: model.get_layer(name).kernel.numpy() for name in ("hidden", "scores")}


def fit(model, data, **changes):
    training.fit(model, data.x_train, data.y_train, OPTIONS, seed=1, **changes)


def test_masked_weights_are_zero_at_once_and_the_others_as_they_were(small_net):
    model = small_net()
    masks, before = masks_of(model), kernels(model)
    apply_masks(model, masks)
    for name, mask in masks.items():
        expected = np.where(mask, before[name], 0)
        np.testing.assert_array_equal(kernels(model)[name], expected)


@pytest.mark.slow
def test_set_after_a_first_training_whose_moments_are_not_zero(small_net, tiny_data):
    model = small_net()
    fit(model, tiny_data)
    masks, before = masks_of(model), kernels(model)
    apply_masks(model, masks)
    fit(model, tiny_data)
    assert_masked_and_trained(model, masks, before)


def test_through_the_users_own_optimizer_with_momentum_and_decay(keras, small_net, tiny_data):
    model = small_net()
    masks, before = masks_of(model), kernels(model)
    apply_masks(model, masks)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x = tiny_data.x_train.astype(np.float32)[..., None] / 255
    model.fit(x, tiny_data.y_train, batch_size=32, epochs=2, verbose=0)
    assert_masked_and_trained(model, masks, before)


def adam(keras, **options):
    return keras.optimizers.Adam(0.02, **options)


OPTIMIZERS = {
    "Adam, average": lambda keras: adam(keras, use_ema=True),
    "SGD, average": lambda keras: keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True),
    "average every other step": lambda keras: adam(keras, use_ema=True, ema_overwrite_frequency=2),
    "average of accumulated gradients": lambda keras: adam(
        keras, use_ema=True, gradient_accumulation_steps=2
    ),
    "scaled loss, average": lambda keras: keras.optimizers.LossScaleOptimizer(
        adam(keras, use_ema=True)
    ),
    "scaled loss, decay": lambda keras: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.AdamW(0.02, weight_decay=0.1)
    ),
    "accumulated gradients": lambda keras: adam(keras, gradient_accumulation_steps=3),
    "Lion": lambda keras: keras.optimizers.Lion(0.01),
    "Ftrl": lambda keras: keras.optimizers.Ftrl(0.1),
}


def compile_and_fit(keras, model, optimizer, data, callbacks=()):
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = data.x_train.astype(np.float32)[..., None] / 255
    model.fit(x, data.y_train, batch_size=16, epochs=2, verbose=0, callbacks=list(callbacks))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.slow
def test_through_any_optimizer(keras, small_net, tiny_data, name):
    model = small_net()
    masks, before = masks_of(model), kernels(model)
    apply_masks(model, masks)
    compile_and_fit(keras, model, OPTIMIZERS[name](keras), tiny_data)
    assert_masked_and_trained(model, masks, before)


@pytest.mark.slow
def test_where_averages_are_swapped_in_for_each_evaluation(keras, small_net, tiny_data):
    model = small_net()
    masks, seen = masks_of(model), []
    apply_masks(model, masks)

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(kernels(model))

    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    compile_and_fit(keras, model, adam(keras, use_ema=True), tiny_data, [swap, Look()])
    for found in [*seen, kernels(model)]:
        assert not any(found[name][~mask].any() for name, mask in masks.items())
    assert len(seen) == 2


@pytest.mark.slow
def test_where_it_is_trained_as_part_of_another_model(keras, small_net, tiny_data):
    model = small_net()
    masks, before = masks_of(model), kernels(model)
    apply_masks(model, masks)
    outer = keras.Sequential([keras.Input((8, 8, 1)), model])
    compile_and_fit(keras, outer, adam(keras, use_ema=True), tiny_data)
    assert_masked_and_trained(model, masks, before)


@pytest.mark.slow
def test_where_a_layer_was_frozen_at_first(keras, small_net, tiny_data):
    model = small_net()
    masks, before = masks_of(model), kernels(model)
    model.trainable = False
    apply_masks(model, masks)
    model.trainable = True
    compile_and_fit(keras, model, adam(keras), tiny_data)
    assert_masked_and_trained(model, masks, before)


def test_removed_masks_are_gone_from_frozen_layers_too(small_net):
    model = small_net()
    model.trainable = False
    apply_masks(model, masks_of(model))
    remove_masks(model)
    assert all(variable.constraint is None for variable in model.variables)


@pytest.mark.slow
def test_a_users_constraint_goes_on_working(keras, small_net, tiny_data):
    constraints = keras.constraints
    model = small_net(
        kernel_constraint=constraints.NonNeg(),
        last={"kernel_constraint": constraints.MaxNorm(0.3)},
    )
    masks, before = masks_of(model), kernels(model)
    apply_masks(model, masks)
    apply_masks(model, masks)  # a second time changes nothing
    fit(model, tiny_data)
    after = kernels(model)
    for name, mask in masks.items():
        assert not after[name][~mask].any()
        assert (after[name] != before[name])[mask].any()
    assert after["hidden"].min() >= 0 and after["hidden"].max() > 0
    norms = np.linalg.norm(after["scores"], axis=0)
    assert 0.29 < norms.max() <= 0.3 + 1e-5


@pytest.mark.slow
def test_new_masks_take_the_place_of_old_ones(small_net, tiny_data):
    model = small_net()
    old, new = np.ones((2, 64, 12), bool)
    old[5:] = False
    new[:3] = False
    apply_masks(model, {"hidden": old})
    apply_masks(model, {"hidden": new})
    fit(model, tiny_data)
    kernel = model.get_layer("hidden").kernel.numpy()
    assert not kernel[:3].any() and kernel[5:].any()


def test_a_mask_takes_one_byte_a_weight(small_net):
    model = small_net()
    apply_masks(model, {"hidden": np.ones((64, 12), bool)})
    mask = model.get_layer("hidden").kernel.constraint.mask
    assert mask.numpy().nbytes == 64 * 12


@pytest.mark.parametrize("kind", [np.float32, np.int64], ids=str)
def test_masks_of_numbers_are_refused_before_anything_is_zeroed(small_net, rejected, kind):
    model = small_net()
    masks = {"scores": np.zeros((12, 4), bool), "hidden": np.ones((64, 12), kind)}
    message = rejected(CheckpointError, apply_masks, model, masks)
    assert f"a mask must be bool: hidden: {np.dtype(kind)}; True is kept" in message
    assert model.get_layer("scores").kernel.numpy().all()


def test_masks_may_be_lists(small_net, tiny_data, rejected):
    model = small_net()
    masks, before = masks_of(model), kernels(model)
    apply_masks(model, {name: mask.tolist() for name, mask in masks.items()})
    fit(model, tiny_data)
    assert_masked_and_trained(model, masks, before)
    message = rejected(CheckpointError, apply_masks, model, {"hidden": [[True], [True, False]]})
    assert "a mask is no array: hidden" in message


STOCK = """
import sys
import numpy, keras
model = keras.saving.load_model(sys.argv[1])
kernel = model.get_layer("hidden").kernel.numpy()
x = numpy.ones((1, 8, 8, 1), "float32")
assert not any(name.split(".")[0] == "compressor" for name in sys.modules)
print("result", (kernel == 0).sum(), model.optimizer.iterations.numpy(),
      type(model.get_layer("hidden").kernel_constraint).__name__, model(x).numpy()[0].tolist())
"""


@pytest.mark.slow
def test_the_saved_model_loads_with_stock_keras(keras, small_net, tiny_data, tmp_path):
    model = small_net(kernel_constraint=keras.constraints.MaxNorm(1.5))
    masks = masks_of(model)
    apply_masks(model, masks)
    fit(model, tiny_data)
    path = tmp_path / "model.keras"
    save_model(model, path)

    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json").decode()
    assert "compressor" not in config and "Mask" not in config
    hidden = next(
        layer["config"]
        for layer in json.loads(config)["config"]["layers"]
        if layer["config"]["name"] == "hidden"
    )
    assert hidden["kernel_constraint"]["class_name"] == "MaxNorm"
    assert hidden["kernel_constraint"]["config"]["max_value"] == 1.5

    script = tmp_path / "stock.py"
    script.write_text(STOCK)
    done = subprocess.run(
        [sys.executable, str(script), str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    zeros, iterations, constraint, scores = done.stdout.split("result ")[1].split(" ", 3)
    assert int(zeros) == np.count_nonzero(~masks["hidden"])
    assert (int(iterations), constraint) == (OPTIONS.steps, "MaxNorm")
    expected = model(np.ones((1, 8, 8, 1), np.float32)).numpy()[0]
    np.testing.assert_allclose(json.loads(scores), expected, atol=1e-5)


def test_masks_file(tmp_path):
    generator = np.random.default_rng(0)
    # `file` and `outer/inner` are layer names that Keras allows and numpy.savez trips over.
    masks = {name: generator.random((5, 4)) < 0.5 for name in ("fc1", "outer/inner", "file")}
    masks["conv"] = generator.random((3, 3, 2, 4)) < 0.5
    path = tmp_path / "masks.npz"
    save_masks(path, masks)
    assert [child.name for child in tmp_path.iterdir()] == ["masks.npz"]
    found = load_masks(path)
    assert found.keys() == masks.keys()
    for name, mask in masks.items():
        assert found[name].dtype == np.bool_
        np.testing.assert_array_equal(found[name], mask)
    with np.load(path, allow_pickle=False) as stock:
        np.testing.assert_array_equal(stock["conv"], masks["conv"])


def test_a_masks_file_takes_at_most_a_byte_a_weight(tmp_path):
    save_masks(tmp_path / "m.npz", {"fc1": np.random.default_rng(0).random((500, 100)) < 0.1})
    assert (tmp_path / "m.npz").stat().st_size < 50_000 / 4


@pytest.mark.parametrize(
    "array", [np.ones((4, 3), np.float32), np.ones((4, 3), np.uint8), np.array([["a"]])]
)
def test_a_masks_file_with_another_type(rejected, tmp_path, array):
    np.savez(tmp_path / "masks.npz", fc1=array)
    assert "fc1" in rejected(CheckpointError, load_masks, tmp_path / "masks.npz")


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_masks_file_with_pickled_code(rejected, tmp_path):
    np.savez(tmp_path / "masks.npz", fc1=np.array([Harmful(tmp_path / "ran")], object))
    rejected(CheckpointError, load_masks, tmp_path / "masks.npz")
    assert not (tmp_path / "ran").exists()


def test_a_damaged_masks_file(rejected, tmp_path):
    path = tmp_path / "masks.npz"
    rejected(CheckpointError, load_masks, path)
    rejected(CheckpointError, load_masks, tmp_path)
    save_masks(path, {"fc1": np.random.default_rng(0).random((64, 64)) < 0.5})
    whole = path.read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        rejected(CheckpointError, load_masks, path)
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    path.write_bytes(flipped)
    rejected(CheckpointError, load_masks, path)


@pytest.mark.parametrize(
    "masks",
    [
        {"hidden": np.ones((64, 11), bool)},
        {"hidden": np.ones(64 * 12, bool)},
        {"flatten": np.ones((64, 12), bool)},
        {"other": np.ones((64, 12), bool)},
    ],
)
def test_masks_of_another_model(rejected, small_net, masks):
    message = rejected(CheckpointError, apply_masks, small_net(), masks)
    name, mask = next(iter(masks.items()))
    assert name in message and str(mask.shape) in message
