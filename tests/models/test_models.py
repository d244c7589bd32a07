"""The paper's CNN; model files, sound and hostile."""

import io
import json
import shutil
import zipfile

import numpy as np
import pytest

from compressor.errors import ModelError
from compressor.models.files import load_model, optimizer_variables, save_model
from compressor.models.layers import prunable_layers
from compressor.models.paper import PAPER_NAMES, paper_cnn


@pytest.fixture(scope="module")
def paper(keras):
    keras.utils.set_random_seed(1)
    return paper_cnn()


def test_the_papers_cnn(paper):
    assert paper.count_params() == 3_274_634
    assert paper.input_shape == (None, 28, 28, 1) and paper.output_shape == (None, 10)
    shapes = {name: tuple(layer.kernel.shape) for name, layer in prunable_layers(paper).items()}
    assert shapes == {
        "conv1": (5, 5, 1, 32),
        "conv2": (5, 5, 32, 64),
        "fc1": (3136, 1024),
        "fc2": (1024, 10),
    }
    assert list(PAPER_NAMES) == ["w_conv1", "w_conv2", "w_fc1", "w_fc2"]
    assert list(PAPER_NAMES.values()) == list(shapes)
    assert paper.get_layer("dropout").rate == 0.5


def test_the_papers_initialisation(paper):
    for name, layer in prunable_layers(paper).items():
        kernel = layer.kernel.numpy()
        # Truncated at two deviations; Keras takes 0.1 as the deviation before that.
        assert np.abs(kernel).max() <= 0.2 + 1e-6, name
        if kernel.size > 1000:
            assert kernel.std() == pytest.approx(0.088, rel=0.03), name
            assert abs(kernel.mean()) < 0.003, name
        assert (layer.bias.numpy() == np.float32(0.1)).all(), name
    kernel = np.sort(np.abs(paper.get_layer("fc1").kernel.numpy()).ravel())
    assert kernel[int(0.1 * kernel.size)] == pytest.approx(0.012, rel=0.03)
    assert kernel[int(0.9 * kernel.size)] == pytest.approx(0.148, rel=0.02)


@pytest.mark.parametrize(
    ("shape", "classes", "flat"), [((8, 8, 1), 4, 256), ((9, 13, 3), 2, 384), ((4, 4, 1), 7, 64)]
)
def test_other_images_and_classes(shape, classes, flat):
    model = paper_cnn(shape, classes, dropout=0.2)
    assert model.input_shape == (None, *shape) and model.output_shape == (None, classes)
    assert tuple(model.get_layer("fc1").kernel.shape) == (flat, 1024)
    assert model.get_layer("dropout").rate == 0.2


def test_images_too_small_for_two_poolings(rejected):
    assert "3 x 9" in rejected(ModelError, paper_cnn, (3, 9, 1))


def test_a_saved_model_predicts_the_same(small_net, tmp_path):
    model, path = small_net(), tmp_path / "new" / "model.keras"
    save_model(model, path)
    save_model(model, path)
    assert [child.name for child in path.parent.iterdir()] == ["model.keras"]
    x = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    loaded = load_model(str(path))
    np.testing.assert_array_equal(loaded.predict_on_batch(x), model.predict_on_batch(x))
    assert not loaded.compiled


def test_values_of_the_optimizer(keras, small_net, tmp_path):
    model = small_net()
    save_model(model, tmp_path / "untrained.keras")
    assert optimizer_variables(tmp_path / "untrained.keras") == 0
    model.compile(keras.optimizers.Adam(), "mse")
    model.optimizer.build(model.trainable_variables)
    save_model(model, tmp_path / "adam.keras")
    assert optimizer_variables(tmp_path / "adam.keras") == 2 * model.count_params()
    assert load_model(tmp_path / "adam.keras").count_params() == model.count_params()


def test_values_of_the_optimizer_of_no_model(rejected, tmp_path):
    (tmp_path / "m.keras").write_bytes(b"no zip")
    rejected(ModelError, optimizer_variables, tmp_path / "m.keras")


# Hostile and damaged files.


def test_no_file_and_a_folder(rejected, tmp_path):
    assert "no such file" in rejected(ModelError, load_model, tmp_path / "none.keras")
    assert "not a model" in rejected(ModelError, load_model, tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"PK\x03\x04rest", bytes(range(256)) * 40])
def test_no_zip_at_all(rejected, tmp_path, content):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    assert str(path) in rejected(ModelError, load_model, path)


def test_truncated(rejected, small_file, tmp_path):
    whole, path = small_file.read_bytes(), tmp_path / "model.keras"
    for length in (1, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        path.write_bytes(whole[:length])
        rejected(ModelError, load_model, path)


def rewritten(source, path, **members):
    """Copy a .keras file with members replaced, or left out where None."""
    members = {name.replace("__", "."): content for name, content in members.items()}
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if name not in members:
                new.writestr(name, old.read(name))
        for name, content in members.items():
            if content is not None:
                new.writestr(name, content)
    return path


def test_members_that_are_missing(rejected, small_file, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w"):
        pass
    assert "config.json" in rejected(ModelError, load_model, path)
    rewritten(small_file, path, config__json=None)
    assert "it lacks: config.json" in rejected(ModelError, load_model, path)


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b'"text"',
        b"[" * 50_000 + b"]" * 50_000,
        b'{"module": "keras", "class_name": "Nothing", "config": {}}',
        b'{"module": "os", "class_name": "function", "config": "abort", "registered_name": null}',
        b'{"module": "builtins", "class_name": "exec", "config": {"code": "1"}}',
        b'{"module": "keras", "class_name": "Sequential", "config": {"layers": 5}}',
        b'{"module": "keras.layers", "class_name": "Dense", "config": {"units": "x"}}',
        b"\xff\xfe\x00",
    ],
)
def test_a_configuration_of_no_model(rejected, small_file, tmp_path, config):
    path = rewritten(small_file, tmp_path / "model.keras", config__json=config)
    rejected(ModelError, load_model, path)


def test_weights_that_are_none_or_of_another_model(rejected, keras, small_file, tmp_path):
    path = tmp_path / "model.keras"
    rewritten(small_file, path, **{"model.weights.h5": b"no hdf5"})
    rejected(ModelError, load_model, path)
    other = tmp_path / "other.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(other)
    with zipfile.ZipFile(other) as archive:
        rewritten(small_file, path, **{"model.weights.h5": archive.read("model.weights.h5")})
    rejected(ModelError, load_model, path)


def test_weights_that_lie_in_another_file(rejected, small_file, tmp_path):
    import h5py

    secret = tmp_path / "secret"
    secret.write_bytes(b"\x01" * 64 * 12 * 4)
    with zipfile.ZipFile(small_file) as archive:
        buffer = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(buffer, "a") as weights:
        found = []
        weights.visit(lambda name: found.append(name) if name.endswith("dense/vars/0") else None)
        name = found[0]
        shape = weights[name].shape
        del weights[name]
        weights.create_dataset(name, shape, "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    path = rewritten(
        small_file, tmp_path / "model.keras", **{"model.weights.h5": buffer.getvalue()}
    )
    rejected(ModelError, load_model, path)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["config.json", "assets/bomb"])
def test_a_zip_bomb(rejected, small_file, tmp_path, name):
    path = tmp_path / "model.keras"
    shutil.copyfile(small_file, path)
    if name == "config.json":
        rewritten(small_file, path, config__json=None)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        for _ in range(128):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    assert "unpacks to far more" in rejected(ModelError, load_model, path)


def test_a_zip_bomb_of_many_small_parts(rejected, small_file, tmp_path):
    path = tmp_path / "model.keras"
    shutil.copyfile(small_file, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(32):
            archive.writestr(f"assets/{number}", bytes(4 * 2**20))
    assert "unpacks to far more" in rejected(ModelError, load_model, path)


def test_lambda_code_is_never_run(rejected, keras, tmp_path):
    ran = tmp_path / "ran"
    text = str(ran)
    function = eval(f"lambda x: (open({text!r}, 'w').close(), x)[1]")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(function, output_shape=(3,))])
    path = tmp_path / "model.keras"
    model.save(path)
    ran.unlink(missing_ok=True)
    message = rejected(ModelError, load_model, path)
    assert "Lambda" in message and "never run" in message
    assert not ran.exists()
    # The model is a trap in fact: without safe mode it springs.
    keras.saving.load_model(path, safe_mode=False)(np.zeros((1, 3), np.float32))
    assert ran.exists()


def test_a_custom_layer_is_named(rejected, keras, small_file, tmp_path):
    with zipfile.ZipFile(small_file) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"][2] |= {
        "module": "unheard_of",
        "class_name": "MyDense",
        "registered_name": "Custom>MyDense",
    }
    path = rewritten(small_file, tmp_path / "model.keras", config__json=json.dumps(config))
    assert "MyDense" in rejected(ModelError, load_model, path)
