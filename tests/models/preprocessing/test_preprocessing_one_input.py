"""One stored array, and what a model of one input is fed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from compressor.data import Dataset
from compressor.errors import DataError, ModelError
from compressor.foundation import quiet_tensorflow
from compressor.models.objective import check_fit, objective_of
from compressor.models.preprocessing import preprocessing_of, structure

BYTES = np.arange(0, 256, 4, dtype=np.uint8).reshape(4, 4, 4)


@pytest.fixture(scope="module")
def chain(keras):
    """Build a classifier of three classes from the layers after its input."""

    def build(shape, *layers, dtype="float32", **options):
        end = [keras.layers.Flatten(), keras.layers.Dense(3, **options)]
        return keras.Sequential([keras.Input(shape, dtype=dtype), *layers, *end])

    return build


def only_rule(model, x):
    (rule,) = preprocessing_of(model, x).rules
    return rule


def test_bytes_are_scaled_and_reshaped(chain):
    feed = preprocessing_of(chain((4, 4, 1)), BYTES)
    fed = feed(BYTES)
    assert fed.dtype == np.float32 and fed.shape == (4, 4, 4, 1)
    assert np.array_equal(fed[..., 0], BYTES.astype(np.float32) / np.float32(255))
    (rule,) = feed.rules
    assert (rule.shape, rule.dtype, rule.scale) == ((4, 4, 1), "float32", 1 / 255)
    assert rule.reason == "uint8 scaled to 0..1"
    assert json.loads(json.dumps(feed.describe())) == [
        {
            "name": rule.name,
            "shape": [4, 4, 1],
            "dtype": "float32",
            "scale": 1 / 255,
            "reason": "uint8 scaled to 0..1",
        }
    ]


def test_floats_are_fed_as_stored(chain):
    x = np.array([[-3.0, 0.5, 255.0, 1e30]], np.float32)
    feed = preprocessing_of(chain((4,)), x)
    assert np.array_equal(feed(x), x)
    assert feed.rules[0].reason == "as stored: float32"


@pytest.mark.parametrize("x", [BYTES, BYTES.astype(np.float32) / 7])
def test_tensors_are_fed_bit_for_bit_as_arrays_are(chain, x):
    tensorflow, _ = quiet_tensorflow.load()
    feed = preprocessing_of(chain((4, 4, 1)), x)
    stored = tensorflow.constant(x)
    batches = (
        tensorflow.data.Dataset.from_tensor_slices(np.array([3, 0, 1]))
        .batch(2)
        .map(lambda index: feed.tensors(tensorflow.gather(stored, index)))
    )
    fed = np.concatenate([batch.numpy() for batch in batches])
    assert fed.dtype == np.float32
    assert np.array_equal(fed, feed(x[[3, 0, 1]]))


@pytest.mark.parametrize(
    ("model", "stored", "fed"),
    [
        ((8, 8, 1), (8, 8), (8, 8, 1)),
        ((8, 8, 1), (64,), (8, 8, 1)),
        ((64,), (8, 8), (64,)),
        ((64,), (8, 8, 1), (64,)),
        ((None, None, 3), (6, 5, 3), (6, 5, 3)),
        ((None, 5, 3), (6, 5, 3), (6, 5, 3)),
        ((None, None, 1), (6, 5), (6, 5, 1)),
        ((None, 5), (6, 5, 1), (6, 5)),
        ((None, 1), (7,), (7, 1)),
    ],
)
def test_shapes_that_fit(chain, keras, model, stored, fed):
    pool = [keras.layers.GlobalAveragePooling2D()] if len(model) == 3 and None in model else []
    if len(model) == 2:
        pool = [keras.layers.GlobalAveragePooling1D()]
    x = np.random.default_rng(0).integers(0, 256, (2, *stored), dtype=np.uint8)
    network = chain(model, *pool)
    feed = preprocessing_of(network, x)
    assert feed(x).shape == (2, *fed)
    assert feed.rules[0].shape == model
    assert np.array_equal(feed(x).ravel(), x.ravel() / np.float32(255))
    assert network.predict_on_batch(feed(x)).shape == (2, 3)
    assert feed(x[:0]).shape == (0, *fed)


@pytest.mark.parametrize(
    ("model", "stored"),
    [
        ((28, 28, 1), (8, 8)),
        ((4, 16), (8, 8)),
        ((8, 8, 3), (8, 8)),
        ((None, None, 3), (8, 8)),
        ((None, None, 3), (8, 8, 1)),
        ((None, None, 1), (64,)),
        ((None, 4), (8, 5)),
    ],
)
def test_shapes_that_do_not_fit_are_both_named(chain, keras, rejected, model, stored):
    pool = [keras.layers.GlobalAveragePooling2D()] if len(model) == 3 else []
    if len(model) == 2:
        pool = [keras.layers.GlobalAveragePooling1D()]
    message = rejected(DataError, preprocessing_of, chain(model, *pool), np.zeros((2, *stored)))
    assert "the images do not fit the model" in message
    assert str(stored) in message and str(model) in message


def raw_models(keras):
    layers = keras.layers
    normalization = layers.Normalization(mean=100.0, variance=400.0)
    return {
        "rescaling": [layers.Rescaling(1 / 255)],
        "to -1..1": [layers.Rescaling(1 / 127.5, offset=-1)],
        "channels": [layers.Rescaling([1 / 255, 1 / 128, 0.5])],
        "normalization": [normalization],
        "behind a reshape": [layers.Reshape((4, 2, 6)), layers.Rescaling(1 / 255)],
        "behind augmentation": [
            layers.RandomFlip(),
            layers.ZeroPadding2D(1),
            layers.Rescaling(1 / 255),
        ],
        "nested": [keras.Sequential([keras.Sequential([layers.Rescaling(1 / 255)])])],
        "behind nested augmentation": [
            keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)]),
            layers.Rescaling(1 / 255),
        ],
        "discretization": [layers.Discretization(bin_boundaries=[50.0, 100.0])],
        "pipeline": [layers.Pipeline([layers.RandomFlip(), layers.Rescaling(1 / 255)])],
    }


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name",
    [
        "rescaling",
        "to -1..1",
        "channels",
        "normalization",
        "behind a reshape",
        "behind augmentation",
        "nested",
        "behind nested augmentation",
        "discretization",
        "pipeline",
    ],
)
def test_a_model_made_for_bytes_gets_bytes(keras, chain, reloaded, name):
    x = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3) * 2
    model = reloaded(chain((4, 4, 3), *raw_models(keras)[name]))
    feed = preprocessing_of(model, x)
    fed = feed(x)
    assert fed.dtype == np.float32
    assert np.array_equal(fed, x)
    assert feed.rules[0].reason.startswith("as stored: the model ")
    assert "itself (layer '" in feed.rules[0].reason
    model.predict_on_batch(fed)


def test_the_layer_that_rescales_is_named(keras, chain):
    rule = only_rule(chain((4, 4, 1), keras.layers.Rescaling(1 / 255, name="scale")), BYTES)
    assert rule.reason == "as stored: the model rescales it itself (layer 'scale')"


def test_the_scaling_that_keras_applications_write_into_a_model_is_seen(keras, reloaded):
    x = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3) * 2
    for module in (keras.applications.mobilenet_v2, keras.applications.resnet50):
        image = keras.Input((4, 4, 3))
        inside = module.preprocess_input(image)
        scores = keras.layers.Dense(2)(keras.layers.Flatten()(inside))
        model = reloaded(keras.Model(image, scores))
        assert np.array_equal(preprocessing_of(model, x)(x), x)


def unit_models(keras):
    layers = keras.layers
    return {
        "stretched": [layers.Rescaling(2.0, offset=-1)],
        "augmented": [layers.RandomFlip()],
        "batch norm": [layers.BatchNormalization()],
        "later": [layers.Conv2D(2, 1), layers.Rescaling(1 / 255)],
    }


@pytest.mark.parametrize("name", ["stretched", "augmented", "batch norm", "later"])
def test_a_model_made_for_0_to_1_gets_that(keras, chain, reloaded, name):
    x = np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3) * 2
    model = reloaded(chain((4, 4, 3), *unit_models(keras)[name]))
    assert np.array_equal(preprocessing_of(model, x)(x), x / np.float32(255))


def test_a_skip_beside_arithmetic_is_no_scaling(keras):
    image = keras.Input((4,))
    shifted = image + 0.25
    scores = keras.layers.Dense(2)(keras.layers.Add()([image, shifted * image]))
    x = np.full((2, 4), 255, np.uint8)
    assert preprocessing_of(keras.Model(image, scores), x)(x).max() == 1


def test_a_graph_with_very_many_paths_is_followed_at_once(keras):
    image = keras.Input((1,))
    x = image
    for _ in range(60):
        x = keras.layers.Reshape((1,))(x)
        x = keras.ops.stack([x, x], axis=1)[:, 0]
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Rescaling(1 / 255)(x)))
    assert "rescales" in only_rule(model, np.ones((2, 1), np.uint8)).reason


@pytest.mark.parametrize("dtype", ["float32", "int32", "int64"])
def test_tokens_are_fed_as_stored(keras, chain, reloaded, dtype):
    tokens = np.array([[0, 999], [500, 3]], np.int32)
    layer = keras.layers.Embedding(1000, 2, name="words")
    model = reloaded(chain((2,), layer, dtype=dtype))
    for x in (tokens, np.minimum(tokens, 200).astype(np.uint8), tokens.astype(np.float32)):
        fed = preprocessing_of(model, x)(x)
        assert fed.dtype == dtype
        assert np.array_equal(fed, x)
        expected = layer.get_weights()[0][x.astype(int)].reshape(2, 4)
        scores = expected @ model.layers[-1].get_weights()[0]
        np.testing.assert_allclose(model.predict_on_batch(fed), scores, atol=1e-5)
    reason = only_rule(model, tokens).reason
    wanted = "it feeds an Embedding" if dtype == "float32" else f"the model takes {dtype}"
    assert reason.startswith(f"as stored: {wanted}")


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (np.array([[0, 1000]], np.int32), "data 0..1000, layer 'words' takes 0..999"),
        (np.array([[-1, 5]], np.int32), "data -1..5, layer 'words' takes 0..999"),
        (np.array([[0.0, 1e9]], np.float32), "data 0..1e+09"),
        (np.array([[0.0, 0.5]], np.float32), "whole numbers only"),
    ],
)
def test_tokens_that_the_embedding_lacks(keras, chain, rejected, tokens, said):
    model = chain((2,), keras.layers.Embedding(1000, 2, name="words"))
    assert said in rejected(DataError, preprocessing_of, model, tokens)


@pytest.mark.parametrize(
    ("dtype", "x", "said"),
    [
        ("uint8", np.array([[0, 256]], np.int32), "data 0..256, the model takes uint8"),
        ("int32", np.array([[0.0, 0.5]], np.float32), "whole numbers only: the model takes int32"),
        ("bool", np.array([[0, 2]], np.uint8), "data 0..2, the model takes bool"),
    ],
)
def test_numbers_that_an_integer_input_cannot_hold(keras, chain, rejected, dtype, x, said):
    model = chain((2,), keras.layers.CategoryEncoding(3, "multi_hot"), dtype=dtype)
    assert said in rejected(DataError, preprocessing_of, model, x)


@pytest.mark.parametrize("values", [[[0, 19], [7, 3]], [[0, 256], [-5, 3]]])
def test_integers_that_are_no_bytes_are_fed_as_stored(keras, chain, values):
    x = np.array(values, np.int32)
    fed = preprocessing_of(chain((2,)), x)(x)
    assert fed.dtype == np.float32
    assert np.array_equal(fed, x)
    assert only_rule(chain((2,)), x).reason == "as stored: int32"
    # A table of measured numbers has its scaling in the model.
    table = keras.layers.Normalization(mean=100.0, variance=400.0)
    assert np.array_equal(preprocessing_of(chain((2,), table), x)(x), x)


def test_half_precision_inputs_are_fed_in_it(chain):
    fed = preprocessing_of(chain((4, 4), dtype="float16"), BYTES)(BYTES)
    assert fed.dtype == np.float16
    np.testing.assert_allclose(fed, BYTES / 255, atol=1e-3)


def test_text_is_refused(keras, rejected):
    text = keras.Input((1,), dtype="string", name="sentence")
    hashed = keras.layers.Hashing(num_bins=3)(text)
    model = keras.Model(text, keras.layers.Dense(2)(keras.ops.cast(hashed, "float32")))
    message = rejected(ModelError, preprocessing_of, model, np.zeros((2, 1), np.uint8))
    assert "does not take numbers: input sentence is string" in message


def test_inputs_are_fed_alike_whatever_the_outputs_are(rejected, keras):
    layers = keras.layers
    a = keras.Input((4,))
    x = np.zeros((2, 4), np.uint8)
    forked = keras.Model(a, [layers.Dense(2)(a), layers.Dense(2)(a)])
    by_name = keras.Model(a, {"scores": layers.Dense(2)(a)}, name="named")
    assert {preprocessing_of(model, x)(x).shape for model in (forked, by_name)} == {(2, 4)}
    unbuilt = keras.Sequential([layers.Dense(2)], name="raw")
    assert "never built" in rejected(ModelError, preprocessing_of, unbuilt, x)


def test_more_classes_than_the_model_has(chain, keras, rejected, tiny_data):
    message = rejected(DataError, check_fit, chain((8, 8)), tiny_data)
    assert "data 4, model 3" in message


def test_one_score_is_a_binary_classifier(keras, rejected, tiny_data):
    model = keras.Sequential([keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(1)])
    assert objective_of(model).classes == 1
    assert "data 4, model 2" in rejected(DataError, check_fit, model, tiny_data)
    halves = Dataset.from_arrays(
        "halves", tiny_data.x_train, tiny_data.y_train % 2, tiny_data.x_test, tiny_data.y_test % 2
    )
    assert check_fit(model, halves)(halves.x_test).shape == (40, 8, 8)


def test_the_fit_of_the_test_set_is_checked_too(keras, chain, rejected):
    model = chain((2,), keras.layers.Embedding(400, 2, name="words"))
    train, test = np.array([[0, 399]] * 3), np.array([[0, 400]] * 3)
    data = Dataset.from_arrays("words", train, np.arange(3), test, np.arange(3))
    preprocessing_of(model, data.x_train)
    assert "data 0..400" in rejected(DataError, check_fit, model, data)


def test_a_list_of_one_input_is_one_input(keras, reloaded):
    image = keras.Input((4, 4))
    model = reloaded(keras.Model([image], [keras.layers.Dense(2)(keras.layers.Flatten()(image))]))
    assert structure(model).shape == (None, 4, 4)
    fed = preprocessing_of(model, BYTES)(BYTES)
    assert model.predict_on_batch(fed).shape == (4, 2)
