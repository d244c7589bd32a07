"""Arrays stored by name, and what a model of several inputs is fed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from compressor.data import load_dataset
from compressor.errors import DataError
from compressor.foundation import quiet_tensorflow
from compressor.models.objective import check_fit
from compressor.models.preprocessing import preprocessing_of, structure

FORMS = ["list", "dict"]


@pytest.fixture(scope="module")
def two_inputs(keras, reloaded):
    """Build a classifier of pictures and words, fed by a list or by a dict."""

    def build(form):
        layers = keras.layers
        # Named and ordered so that neither is sorted.
        words = keras.Input((3,), name="words")
        picture = keras.Input((4, 4, 1), name="picture")
        parts = [
            layers.Flatten()(layers.Embedding(500, 2)(words)),
            layers.Flatten()(picture),
        ]
        scores = layers.Dense(2)(layers.Concatenate()(parts))
        inputs = {"words": words, "picture": picture} if form == "dict" else [words, picture]
        return reloaded(keras.Model(inputs, scores))

    return build


@pytest.fixture
def stored(tmp_path):
    """A data set in a file: pictures (n, 4, 4) of bytes, and words (n, 3), numbers up to 499."""
    generator = np.random.default_rng(2)

    def part(count):
        words = generator.integers(0, 500, (count, 3))
        words[0, 0] = 499
        return generator.integers(0, 256, (count, 4, 4), dtype=np.uint8), words

    (picture, words), (picture_test, words_test) = part(6), part(4)
    np.savez(
        tmp_path / "pairs.npz",
        **{
            "x_train/words": words,
            "x_train/picture": picture,
            "x_test/words": words_test,
            "x_test/picture": picture_test,
        },
        y_train=np.arange(6) % 2,
        y_test=np.arange(4) % 2,
    )
    return load_dataset(tmp_path / "pairs.npz")


def by_name(form, feed, fed):
    """What was fed, by the names of the inputs."""
    names = [rule.name for rule in feed.rules]
    assert type(fed) is (dict if form == "dict" else list)
    return fed if form == "dict" else dict(zip(names, fed, strict=True))


@pytest.mark.parametrize("form", FORMS)
def test_each_input_is_fed_under_its_name(two_inputs, stored, form):
    model = two_inputs(form)
    feed = check_fit(model, stored)
    assert [rule.name for rule in feed.rules] == [tensor.name for tensor in model.inputs]
    fed = by_name(form, feed, feed(stored.x_test))
    assert fed["picture"].dtype == fed["words"].dtype == np.float32
    assert fed["picture"].shape == (4, 4, 4, 1)
    assert np.array_equal(
        fed["picture"][..., 0], stored.x_test["picture"].astype(np.float32) / np.float32(255)
    )
    assert np.array_equal(fed["words"], stored.x_test["words"])
    reasons = {rule["name"]: rule["reason"] for rule in json.loads(json.dumps(feed.describe()))}
    assert reasons["picture"] == "uint8 scaled to 0..1"
    assert reasons["words"].startswith("as stored: it feeds an Embedding")


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_those_of_the_right_inputs(two_inputs, stored, form):
    model = two_inputs(form)
    feed = preprocessing_of(model, stored.x_test)
    embedding, dense = (layer for layer in model.layers if layer.weights)
    words = embedding.get_weights()[0][stored.x_test["words"]].reshape(4, -1)
    both = np.concatenate([words, stored.x_test["picture"].reshape(4, -1) / 255], axis=1)
    expected = both @ dense.get_weights()[0]
    scores = model.predict_on_batch(feed(stored.x_test))
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("form", FORMS)
def test_a_pipeline_of_tensors_trains_the_model(two_inputs, stored, form):
    tensorflow, _ = quiet_tensorflow.load()
    model = two_inputs(form)
    model.compile("sgd", "mse")
    feed = preprocessing_of(model, stored.x_train)
    constants = {name: tensorflow.constant(part) for name, part in stored.x_train.items()}

    def batch(index):
        chosen = {name: tensorflow.gather(part, index) for name, part in constants.items()}
        return feed.tensors(chosen), tensorflow.zeros((len(index), 2))

    batches = tensorflow.data.Dataset.from_tensor_slices(np.arange(6)).batch(3).map(batch)
    arrays = feed(stored.x_train)
    arrays = arrays if form == "dict" else dict(enumerate(arrays))
    for start, (tensors, _) in zip((0, 3), batches, strict=True):
        tensors = tensors if form == "dict" else dict(enumerate(tensors))
        assert tensors.keys() == arrays.keys()
        for key, array in arrays.items():
            assert np.array_equal(tensors[key].numpy(), array[start : start + 3])
    before = model.layers[-1].get_weights()[0]
    model.fit(batches, shuffle=False, verbose=0)
    assert not np.array_equal(before, model.layers[-1].get_weights()[0])


@pytest.mark.parametrize("form", FORMS)
def test_the_structure_is_that_of_what_is_fed(two_inputs, stored, form):
    tensorflow, _ = quiet_tensorflow.load()
    model = two_inputs(form)
    specs = tensorflow.nest.map_structure(
        lambda part: tensorflow.TensorSpec(part.shape, part.dtype), structure(model)
    )
    function = tensorflow.function(model, input_signature=[specs])
    fed = preprocessing_of(model, stored.x_test)(stored.x_test)
    scores = function(tensorflow.nest.map_structure(tensorflow.constant, fed))
    np.testing.assert_allclose(scores.numpy(), model.predict_on_batch(fed), atol=1e-5)


def test_inputs_without_names_of_their_own_keep_those_of_their_layers(keras, reloaded):
    left, right = keras.Input((2,)), keras.Input((3,))
    model = keras.Model(
        [left, right], keras.layers.Dense(2)(keras.layers.Concatenate()([left, right]))
    )
    names = [layer.name for layer in model.layers[:2]]
    x = {name: np.zeros((2, size), np.float32) for name, size in zip(names, (2, 3), strict=True)}
    for network in (model, reloaded(model)):
        assert [part.shape for part in preprocessing_of(network, x)(x)] == [(2, 2), (2, 3)]


def test_one_number_a_row_is_a_column(keras):
    age, size = keras.Input((1,), name="age"), keras.Input((), name="size")
    column = keras.layers.Reshape((1,))(size)
    scores = keras.layers.Dense(2)(keras.layers.Concatenate()([age, column]))
    x = {"age": np.array([1.5, 2.5], np.float32), "size": np.array([[3.0], [4.0]], np.float32)}
    fed = preprocessing_of(keras.Model([age, size], scores), x)(x)
    assert [part.tolist() for part in fed] == [[[1.5], [2.5]], [3.0, 4.0]]


def test_one_named_array_feeds_one_input_whatever_its_name(small_net, keras):
    array = np.full((2, 8, 8), 255, np.uint8)
    feed = preprocessing_of(small_net(), {"anything": array})
    assert feed({"anything": array}).shape == (2, 8, 8, 1)
    assert feed({"anything": array}).max() == 1
    only = keras.Input((4,), name="only")
    model = keras.Model({"only": only}, keras.layers.Dense(2)(only))
    fed = preprocessing_of(model, array[:, 0, :4])(array[:, 0, :4])
    assert set(fed) == {"only"} and fed["only"].shape == (2, 4)


def test_an_input_is_followed_into_a_nested_model_of_several(keras, reloaded):
    layers = keras.layers
    raw, unit = keras.Input((4,), name="raw"), keras.Input((4,), name="unit")
    inner = keras.Model(
        {"unit": unit, "raw": raw}, layers.Concatenate()([layers.Rescaling(1 / 255)(raw), unit])
    )
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model([a, b], layers.Dense(2)(inner({"unit": a, "raw": b})))
    x = {name: np.full((1, 4), 255, np.uint8) for name in "ab"}
    for network in (model, reloaded(model)):
        fed = preprocessing_of(network, x)(x)
        assert {
            rule.name: part.max()
            for rule, part in zip(preprocessing_of(network, x).rules, fed, strict=True)
        } == {"a": 1, "b": 255}


def test_frames_of_a_video_are_followed_too(keras, reloaded):
    layers = keras.layers
    frame = keras.Sequential([layers.Rescaling(1 / 255), layers.Flatten()])
    model = keras.Sequential(
        [keras.Input((5, 4, 4)), layers.TimeDistributed(frame), layers.Flatten(), layers.Dense(2)]
    )
    x = np.full((2, 5, 4, 4), 255, np.uint8)
    assert preprocessing_of(reloaded(model), x)(x).max() == 255


@pytest.mark.parametrize("form", FORMS)
def test_one_array_does_not_feed_two_inputs(two_inputs, rejected, form):
    message = rejected(DataError, preprocessing_of, two_inputs(form), np.zeros((2, 3), np.uint8))
    assert "several inputs and the data set one" in message
    assert "words" in message and "picture" in message and "x_train/" in message


def test_two_arrays_do_not_feed_one_input(small_net, rejected):
    x = {"left": np.zeros((2, 8, 8), np.uint8), "right": np.zeros((2, 8, 8), np.uint8)}
    message = rejected(DataError, preprocessing_of, small_net(), x)
    assert "data left, right; model" in message


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("word", "picture"), "did you mean words for word?"),
        (("pictures", "sentence"), "did you mean picture for pictures?"),
        (("a", "b"), "name them as the model does"),
        (("words",), "data words; model"),
        (("words", "picture", "more"), "data words, picture, more; model"),
    ],
)
def test_names_that_the_model_does_not_have(two_inputs, rejected, names, said):
    x = {name: np.zeros((2, 3), np.uint8) for name in names}
    message = rejected(DataError, preprocessing_of, two_inputs("list"), x)
    assert "not those of the model" in message
    assert said in message


def test_hostile_names_of_inputs_make_one_line(two_inputs, rejected):
    x = {f"{'long' * 500}\n{number}": np.zeros((2, 3), np.uint8) for number in range(50)}
    message = rejected(DataError, preprocessing_of, two_inputs("list"), x)
    assert len(message) < 3000 and "and 40 more" in message


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("picture", np.zeros((2, 5, 5), np.uint8), "input picture: images (5, 5), model (4, 4, 1)"),
        ("words", np.full((2, 3), 500, np.int32), "input words: data 500..500"),
    ],
)
def test_messages_say_which_input(two_inputs, rejected, name, array, said):
    x = {"picture": np.zeros((2, 4, 4), np.uint8), "words": np.zeros((2, 3), np.uint8)}
    message = rejected(DataError, preprocessing_of, two_inputs("list"), {**x, name: array})
    assert said in message
