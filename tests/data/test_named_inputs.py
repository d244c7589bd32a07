"""Data sets with several inputs, in memory and in .npz files."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping

import numpy as np
import pytest

from compressor.data import Dataset, load_dataset
from compressor.data.inputs import named, rows, take


@pytest.fixture
def pair():
    """Left (6, 4) and right (6, 2, 3) to train on, 4 rows of each to test on; three classes."""
    generator = np.random.default_rng(3)
    return {
        part: {
            "right": generator.normal(size=(count, 2, 3)).astype(np.float32),
            "left": generator.integers(0, 256, (count, 4), dtype=np.uint8),
        }
        for part, count in (("x_train", 6), ("x_test", 4))
    } | {"y_train": np.array([0, 1, 2, 2, 1, 0]), "y_test": np.array([2, 0, 1, 1])}


@pytest.fixture
def write(tmp_path):
    """Write an .npz file of arrays and of mappings, whose names come after `separator`."""

    def save(pair, separator="/", **more):
        members = {
            part + (separator + name if name else ""): array
            for part, x in pair.items()
            for name, array in named(x).items()
        }
        np.savez(tmp_path / "data.npz", **members, **more)
        return tmp_path / "data.npz"

    return save


@pytest.mark.parametrize("separator", ["/", "_", "."])
def test_inputs_are_read_by_name(pair, write, separator):
    data = load_dataset(write(pair, separator, other=np.array([None])))
    for part in ("x_train", "x_test"):
        x = getattr(data, part)
        assert list(x) == ["left", "right"]
        assert all(np.array_equal(x[name], pair[part][name]) for name in x)
    assert np.array_equal(data.y_train, pair["y_train"])
    assert data.digest == Dataset.from_arrays("other", **pair).digest
    assert json.loads(json.dumps(data.describe())) == {
        "name": "data",
        "digest": data.digest,
        "train": 6,
        "test": 4,
        "image_shape": {"left": [4], "right": [2, 3]},
        "dtype": {"left": "uint8", "right": "float32"},
        "classes": 3,
    }


def test_packed_folders_of_arrays_are_read(tmp_path, pair):
    """As `zip -r` packs them: with entries for the folders themselves."""
    path = tmp_path / "data.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for part, x in pair.items():
            if isinstance(x, Mapping):
                archive.writestr(f"{part}/", b"")
            for name, array in named(x).items():
                stream = io.BytesIO()
                np.save(stream, array)
                archive.writestr(f"{part}/{name}.npy" if name else f"{part}.npy", stream.getvalue())
    assert load_dataset(path).digest == Dataset.from_arrays("data", **pair).digest


def test_names_may_hold_what_stands_before_them(pair, write):
    for part in ("x_train", "x_test"):
        pair[part] = {"left_ear": pair[part]["left"], "a/b.c": pair[part]["right"]}
    for separator in "/_":
        assert list(load_dataset(write(pair, separator)).x_test) == ["a/b.c", "left_ear"]


def test_statistics_beside_one_array_are_no_inputs(arrays, write):
    path = write(arrays, x_train_mean=np.zeros(3), **{"x_test.names": np.array(["a"])})
    assert load_dataset(path).digest == Dataset.from_arrays("data", **arrays).digest


def test_statistics_beside_named_arrays_are_no_inputs(pair, write):
    assert list(load_dataset(write(pair, x_train_mean=np.zeros(3))).x_train) == ["left", "right"]


def edit(pair, part, **inputs):
    x = {**pair[part], **inputs}
    return pair | {part: {name: array for name, array in x.items() if array is not None}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda pair: edit(pair, "x_test", left=None),
            "(train left, right; test right); it lacks x_test/left",
        ),
        (
            lambda pair: edit(edit(pair, "x_test", left=None), "x_train", right=None),
            "(train left; test right); it lacks x_test/left, x_train/right",
        ),
        (lambda pair: pair | {"x_test": {}}, "it lacks x_test/left, x_test/right"),
        (
            lambda pair: pair | {"x_train": pair["x_train"]["left"]},
            "mixes one array with named inputs: x_train beside x_test/left, x_test/right in",
        ),
        (
            lambda pair: pair | {"x_test": pair["x_test"]["left"]},
            "mixes one array with named inputs: x_test beside x_train/left, x_train/right in",
        ),
        (
            lambda pair: edit(pair | {"x_test": {}}, "x_train", **{"": np.zeros((6, 4))}),
            "lacks x_test: ",
        ),
        (lambda pair: {k: v for k, v in pair.items() if k != "y_test"}, "lacks y_test: "),
        (
            lambda pair: edit(pair, "x_train", left=np.zeros((5, 4), np.uint8)),
            "train set has not as many labels as images: 5 rows of input left, 6 labels",
        ),
        (
            lambda pair: edit(pair, "x_test", right=np.zeros((4, 3, 2))),
            "different shapes: (2, 3) and (3, 2) (input right)",
        ),
        (
            lambda pair: edit(pair, "x_test", left=np.zeros((4, 4))),
            "different types: uint8 and float32 (input left)",
        ),
        (
            lambda pair: edit(pair, "x_train", right=np.full((6, 2, 3), np.nan)),
            "NaN or infinity: input right of x_train in",
        ),
        (lambda pair: edit(pair, "x_train", left=np.zeros((6, 0))), "array is empty: x_train/left"),
        (
            lambda pair: edit(pair, "x_train", left=np.array(["a"] * 6)),
            "cannot be used: x_train/left in",
        ),
        (
            lambda pair: edit(pair, "x_train", left=np.array([None] * 6)),
            "Python objects is refused: x_train/left in",
        ),
    ],
)
def test_mistakes_in_a_file_are_named(pair, write, refused, change, said):
    assert said in refused(load_dataset, write(change(pair)))


def test_one_array_beside_named_ones_is_refused(pair, arrays, write, refused):
    more = {f"x_train/{name}": array for name, array in pair["x_train"].items()}
    message = refused(load_dataset, write(arrays, **more))
    assert "mixes one array with named inputs: x_train, x_test beside x_train/" in message


def test_an_input_without_a_name_is_refused(pair, write, refused):
    path = write(pair, **{"x_train/": np.zeros((6, 1)), "x_test/": np.zeros((4, 1))})
    message = refused(load_dataset, path)
    assert "input without a name: x_train/ in" in message
    assert "save it as x_train/NAME" in message


def test_an_input_twice_is_refused(pair, write, refused):
    path = write(pair)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_test/left", b"")
    assert "has an array twice: x_test/left" in refused(load_dataset, path)


def test_hostile_names_make_one_line(pair, write, refused):
    odd = {f"x_train/{'long' * 300}\n{number}": np.zeros(1) for number in range(40)}
    message = refused(load_dataset, write(pair, **odd))
    assert "and 32 more" in message
    assert len(message) < 6000


def test_many_inputs(tmp_path, arrays):
    path = tmp_path / "data.npz"
    member = io.BytesIO()
    np.save(member, np.zeros(2, np.uint8))
    with zipfile.ZipFile(path, "w") as archive:
        for part in ("x_train", "x_test"):
            for number in range(500):
                archive.writestr(f"{part}/{number}.npy", member.getvalue())
        for part in ("y_train", "y_test"):
            archive.writestr(f"{part}.npy", member.getvalue())
    data = load_dataset(path)
    assert len(data.x_train) == 500 and rows(data.x_train) == 2


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ((lambda x: x["left"], lambda x: x), "different inputs: one array and left, right"),
        ((lambda x: x, lambda x: {}), "need a name each: x_test has nothing"),
        ((lambda x: x, lambda x: {"": x["left"]}), "need a name each: x_test has ''"),
        ((lambda x: x, lambda x: {3: x["left"]}), "need a name each: x_test has 3"),
        ((lambda x: x, lambda x: {"left": x["left"]}), "left, right and left"),
        ((lambda x: {"left": np.array(1)}, lambda x: {"left": x["left"]}), "number of dimensions"),
    ],
)
def test_mappings_that_are_refused(pair, refused, inputs, said):
    for part, change in zip(("x_train", "x_test"), inputs, strict=True):
        pair[part] = change(pair[part])
    assert said in refused(Dataset.from_arrays, "small", **pair)


def test_inputs_are_read_only(pair):
    data = Dataset.from_arrays("small", **pair)
    with pytest.raises(TypeError):
        data.x_train["left"] = pair["x_train"]["left"]
    with pytest.raises(ValueError, match="read-only"):
        data.x_train["left"][0] = 0
    pair["x_train"]["left"][0] = 0


def test_the_digest_depends_on_the_names_and_not_on_their_order(pair):
    def digest(**names):
        renamed = {
            part: {names.get(name, name): array for name, array in x.items()}
            if isinstance(x, dict)
            else x
            for part, x in pair.items()
        }
        return Dataset.from_arrays("small", **renamed).digest

    plain = pair | {part: pair[part]["left"] for part in ("x_train", "x_test")}
    alone = pair | {part: {"left": pair[part]["left"]} for part in ("x_train", "x_test")}
    digests = [
        digest(),
        digest(left="links"),
        digest(left="a", right="b"),
        Dataset.from_arrays("small", **plain).digest,
        Dataset.from_arrays("small", **alone).digest,
    ]
    assert len(set(digests)) == len(digests)
    pair["x_train"] = dict(reversed(pair["x_train"].items()))
    assert digest() == digests[0]


def test_tokens_of_both_parts_have_one_type():
    """A small test set may hold no token beyond a byte."""
    high, low = np.full((2, 3), 1000), np.full((2, 3), 7)
    labels = np.array([0, 1])
    for train, test in ((high, low), (low, high)):
        data = Dataset.from_arrays("words", train, labels, test, labels)
        assert data.x_train.dtype == data.x_test.dtype == np.int32
        assert np.array_equal(data.x_train, train) and np.array_equal(data.x_test, test)
    named_words = {"words": high}, labels, {"words": low}, labels
    assert Dataset.from_arrays("words", *named_words).x_test["words"].dtype == np.int32


def test_one_number_a_row_is_an_input(pair):
    pair["x_train"]["age"], pair["x_test"]["age"] = np.arange(6.0), np.arange(4.0)
    data = Dataset.from_arrays("small", **pair)
    assert data.describe()["image_shape"]["age"] == []
    assert data.split(2, seed=0)[1].shape == (2,)


def test_rows_are_taken_of_every_input(pair):
    x = pair["x_train"]
    assert rows(x) == rows(x["left"]) == 6
    for index in (slice(1, 3), np.array([1, 2])):
        taken = take(x, index)
        assert list(taken) == list(x)
        assert all(np.array_equal(taken[name], x[name][1:3]) for name in x)
        assert np.array_equal(take(x["left"], index), x["left"][1:3])
    assert named(x["left"]).keys() == {""}
    assert named(x) == x


def test_a_member_without_any_name_is_left(pair, write):
    path = write(pair, odd=np.zeros(1))
    path.write_bytes(path.read_bytes().replace(b"odd.npy", b"\0dd.npy"))
    assert list(load_dataset(path).x_train) == ["left", "right"]
