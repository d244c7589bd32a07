"""Data sets that come in batches, from Python, from tf.data's files and from TFRecord."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compressor.data import load_dataset, stored
from compressor.data.streams import SAVED
from compressor.errors import UsageError
from compressor.foundation import quiet_tensorflow

X = np.arange(30 * 6, dtype=np.uint8).reshape(30, 3, 2)
Y = np.arange(30) % 3


@pytest.fixture(scope="module")
def tensorflow():
    return quiet_tensorflow.load()[0]


@pytest.fixture(scope="module")
def whole():
    return load_dataset((X, Y))


def batches(size=7):
    for start in range(0, len(X), size):
        yield X[start : start + size], Y[start : start + size]


def test_all_kinds_of_streams_are_the_same_data(tensorflow, whole):
    import keras

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 5

        def __getitem__(self, number):
            part = slice(6 * number, 6 * number + 6)
            return X[part], Y[part]

    rows = tensorflow.data.Dataset.from_tensor_slices((X, Y))
    for source in (
        *(rows, rows.batch(7), rows.batch(6, drop_remainder=True), batches(), Sequence()),
        {"x": X, "y": Y},
        (tensorflow.constant(X), Y.tolist()),
    ):
        data = load_dataset(source)
        assert data.digest == whole.digest
        assert "no test part" in data.notes[0]


def test_rows_and_batches_of_one_length_are_told_apart(tensorflow, tmp_path):
    pictures = np.arange(30 * 3 * 3, dtype=np.float32).reshape(30, 3, 3)
    pairs = tensorflow.data.Dataset.from_tensor_slices((pictures, pictures))
    alone = tensorflow.data.Dataset.from_tensor_slices(pictures)
    whole = load_dataset((pictures, pictures))
    mapped = pairs.map(lambda x, y: (x, y)).prefetch(1)
    batched = pairs.batch(6, drop_remainder=True)
    for source in (pairs, mapped, batched, batched.cache().prefetch(1), batched.unbatch()):
        data = load_dataset(source)
        assert data.digest == whole.digest and len(data.notes) == 1
    data = load_dataset(alone.batch(6, drop_remainder=True))
    assert data.digest == load_dataset(pictures).digest
    # A saved dataset says nothing of its operations.
    pairs.save(str(tmp_path / "rows"))
    data = load_dataset(tmp_path / "rows")
    assert data.digest == whole.digest and "taken for single examples" in data.notes[0]
    batched.save(str(tmp_path / "batches"))
    for name in ("rows", "batches"):
        data = load_dataset(tmp_path / name, sizes=lambda: (3, 3))
        assert data.digest == whole.digest and len(data.notes) == 1


def test_parts_names_and_weights(tensorflow):
    dicts = ({"image": x, "label": y, "id": y + 7} for x, y in batches())
    data = load_dataset(dicts, x="image", y="label")
    assert np.array_equal(data.y_train, data.y_train) and data.x_train.shape == (24, 3, 2)
    weighted = [({"a": x, "b": x / 2}, {"c": y, "d": x / 3}, np.ones(len(y))) for x, y in batches()]
    data = load_dataset({"train": weighted, "test": weighted[:2]})
    assert {name: x.dtype for name, x in data.x_train.items()} == {"a": np.uint8, "b": np.float32}
    assert data.y_test["d"].shape == (14, 3, 2) and data.sample_weights.shape == (30,)
    assert load_dataset(x for x, _ in batches()).y_train is None
    assert load_dataset(X).x_test.shape == (6, 3, 2)
    masks = load_dataset((x, x > 90) for x, _ in batches())
    assert masks.y_train.shape == (24, 3, 2) and masks.y_train.dtype == np.uint8


def test_a_long_stream_stays_on_the_disk_until_it_is_let_go(whole, monkeypatch):
    monkeypatch.setattr(stored, "MOST_IN_MEMORY", 100)
    data = load_dataset(batches())
    folder = Path(data.notes[0].split(" in ")[1].split()[0])
    assert isinstance(data.x_train, stored.StoredRows) and [*folder.iterdir()]
    assert folder.stat().st_mode & 0o77 == 0
    assert data.digest == whole.digest
    assert np.array_equal(data.x_test[:3], whole.x_test[:3])
    assert np.array_equal(data.x_train[np.array([9, 2])], whole.x_train[[9, 2]])
    assert isinstance(data.x_train[3:], stored.StoredRows)
    assert np.array_equal(data.x_train[3:][-2], whole.x_train[-2])
    again = pickle.loads(pickle.dumps(data.x_train))
    assert np.array_equal(np.asarray(again), whole.x_train)
    del data
    assert not folder.exists()


def test_saved_datasets_are_read(tensorflow, tmp_path, whole, refused):
    rows = tensorflow.data.Dataset.from_tensor_slices((X, Y))
    rows.batch(8).save(str(tmp_path / "all"))
    assert load_dataset(tmp_path / "all").digest == whole.digest
    for part in ("train", "val"):
        rows.save(str(tmp_path / "parts" / part))
    data = load_dataset(tmp_path / "parts")
    assert len(data.x_train) == len(data.x_test) == 30
    assert data.notes == ("the part val is the test part",)
    (tmp_path / "all" / SAVED).write_bytes(b"nothing of use")
    assert "cannot be read" in refused(load_dataset, tmp_path / "all")


@pytest.fixture
def records(tensorflow, tmp_path):
    """Write rows as TFRecord: raw bytes, a PNG picture, floats and a label."""

    def example(x, y):
        train, png = tensorflow.train, io.BytesIO()
        Image.fromarray(x).save(png, "PNG")
        features = {
            "raw": train.Feature(bytes_list=train.BytesList(value=[x.tobytes()])),
            "png": train.Feature(bytes_list=train.BytesList(value=[png.getvalue()])),
            "numbers": train.Feature(float_list=train.FloatList(value=x.ravel() / 2)),
            "label": train.Feature(int64_list=train.Int64List(value=[y])),
        }
        return train.Example(features=train.Features(feature=features)).SerializeToString()

    path = tmp_path / "rows.tfrecord"
    with tensorflow.io.TFRecordWriter(str(path)) as writer:
        for x, y in zip(X, Y, strict=True):
            writer.write(example(x, y))
    return path


def test_records_are_read_by_their_features(records, whole):
    data = load_dataset(records, features="raw=uint8:3x2,label=int64")
    assert data.digest == whole.digest
    data = load_dataset(records, features="label=int64, png=picture:3x2x1", x="png", y="label")
    assert np.array_equal(data.x_train[..., 0], whole.x_train)
    data = load_dataset(records, features="png=picture,label=int64", resize=(6, 4, 3))
    assert data.x_train.shape == (24, 6, 4, 3)
    data = load_dataset(records, features="numbers=float32:6")
    assert data.y_train is None and data.x_train.shape == (24, 6)
    (records.parent / "test.tfrecord").write_bytes(records.read_bytes())
    records.rename(records.parent / "train-00001.tfrecord")
    assert len(load_dataset(records.parent, features="raw=uint8:3x2").x_test) == 30


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (None, "give --features"),
        ("raw", "a feature is NAME=TYPE"),
        ("raw=uint9", "a feature is NAME=TYPE"),
        ("raw=uint8:3x", "a feature is NAME=TYPE"),
        ("raw=uint8:99999999x99999999", "shape of a feature cannot be used"),
        ("png=picture:3", "shape of a feature cannot be used"),
        ("raw=uint8:6,raw=uint8:6", "named twice"),
    ],
)
def test_features_that_cannot_be_used(records, features, said):
    with pytest.raises(UsageError, match=said):
        load_dataset(records, features=features)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("raw=uint8:7", "the stream cannot be read"),
        ("other=uint8:6", "the stream cannot be read"),
        ("raw=picture", "the stream cannot be read"),
        ("raw=uint8:6,label=float32", "the stream cannot be read"),
    ],
)
def test_examples_without_the_features(records, refused, features, said):
    assert said in refused(load_dataset, records, features=features)


def test_damaged_records(records, refused):
    content = records.read_bytes()
    records.write_bytes(content[:-3])
    assert "TFRecord file is damaged" in refused(load_dataset, records, features="raw=uint8:6")
    records.write_bytes(content[:90] + b"?" + content[91:])
    assert "the stream cannot be read" in refused(load_dataset, records, features="raw=uint8:6")
    records.write_bytes(b"\xff" * 7 + b"\x7f" + content[8:])
    refused(load_dataset, records, features="raw=uint8:6")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (7, "this is no data set: 7"),
        ((), "a tuple is (x, y)"),
        ({"train": []}, "has the parts train and test"),
        ({"image": X}, "a dict of arrays has other keys: image"),
        ([], "the stream gives no batch"),
        ([(X, Y[:5])], "have not as many rows each"),
        ([(X, Y), (X[:, :2], Y)], "the rows of the data set are not alike"),
        ([(X, Y), X], "the rows of the data set are not alike"),
        ([X, Y, X, Y], "not alike"),
        ([(X, Y, Y, Y)], "a batch is (x, y)"),
        ([([X, X], Y)], "several arrays need a name each"),
        ([(np.array(["a"]), Y[:1])], "has a type that cannot be used"),
        (None, "NaN or infinity"),
        ([(X, 3)], "single numbers, not rows"),
    ],
)
def test_streams_that_cannot_be_used(refused, source, said):
    with np.errstate(all="ignore"):
        source = [(X / np.float64(0), Y)] if "NaN" in said else source
    assert said in refused(load_dataset, source)


def test_streams_without_an_end_and_without_room(tensorflow, refused, monkeypatch):
    endless = tensorflow.data.Dataset.from_tensor_slices((X, Y)).repeat()
    assert "the stream has no end" in refused(load_dataset, endless)
    monkeypatch.setattr(stored, "_ROOM_LEFT", 2**62)
    assert "the disk has no room" in refused(load_dataset, batches())


def test_what_records_do_not_take_is_refused(records):
    features = "raw=uint8:3x2,numbers=float32:6,label=int64"
    with pytest.raises(UsageError, match="--resize has no effect"):
        load_dataset(records, features=features, resize=(4, 4))
    with pytest.raises(UsageError, match="one name as --x"):
        load_dataset(records, features=features, x=("raw", "numbers"), y="label")
    with pytest.raises(UsageError, match="one name as --y"):
        load_dataset(records, features=features, x="raw", y=("label", "numbers"))


@pytest.mark.parametrize(
    "names", [("train-00000", "test-00000"), ("train.tfrecord-00000-of-00001",) * 2]
)
def test_shards_are_found_by_their_content_or_their_usual_names(records, tmp_path, names):
    folder = tmp_path / "shards"
    folder.mkdir()
    for name in {*names}:
        (folder / name).write_bytes(records.read_bytes())

    data = load_dataset(folder, features="raw=uint8:3x2,label=int64")

    assert len(data.x_test) == (30 if len({*names}) == 2 else 6)
