"""Folders of pictures, a subfolder a class."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from compressor.data import load_dataset, stored
from compressor.foundation import quiet_tensorflow


def picture(path, number=0, size=(8, 6), mode="L", kind="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size if mode == "L" else (*size, 3)
    values = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(values, mode).save(path, kind)
    return values


@pytest.fixture
def folder(tmp_path):
    """cat, dog and owl, 6 pictures each; give their values by class."""
    values = {
        name: [picture(tmp_path / "set" / name / f"{n}.png", 10 * k + n) for n in range(6)]
        for k, name in enumerate(("cat", "dog", "owl"))
    }
    return tmp_path / "set", values


def test_a_folder_is_split_and_its_classes_are_labels(folder):
    path, values = folder
    data = load_dataset(path)
    assert data.labels == ("cat", "dog", "owl")
    assert data.x_train.dtype == np.uint8 and data.x_train.shape == (14, 8, 6, 1)
    assert len(data.x_test) == 4 and "no test part" in data.notes[0]
    kept = {name: [v.tobytes() for v in values[name]] for name in values}
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert all(
            image.tobytes() in kept[data.labels[label]] for image, label in zip(x, y, strict=True)
        )


def test_parts_size_and_channels(tmp_path, refused):
    for part, name in (("train", "a"), ("train", "b"), ("val", "b"), ("val", "a"), ("test", "b")):
        picture(tmp_path / part / name / "1.jpg", size=(20, 30), mode="RGB", kind="JPEG")
        picture(tmp_path / part / name / "2.bmp", size=(10, 10), mode="RGB", kind="BMP")
    data = load_dataset(tmp_path, resize=(12, 16))
    assert (data.x_train.shape, data.x_test.shape) == ((8, 12, 16, 3), (2, 12, 16, 3))
    assert data.notes == ("the part val joins the training part", "no picture to test on of a")
    assert load_dataset(tmp_path, sizes=lambda: (28, 28)).x_train.shape == (8, 28, 28, 1)
    data = load_dataset(tmp_path, resize=(5, 4), sizes=lambda: (None, None, 1))
    assert data.x_test.shape == (2, 5, 4, 1)
    message = refused(load_dataset, tmp_path, resize=(5, 4, 4))
    assert "(JPEG does not support 4 channels); save them as PNG" in message


def test_pictures_of_different_sizes_need_one(folder, refused):
    path, _ = folder
    picture(path / "dog" / "odd.gif", size=(9, 9), kind="GIF")
    assert "different sizes: 8x6, 9x9; give --resize" in refused(load_dataset, path)


def bomb(side):
    """A PNG file of a few bytes that says it has side x side pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk


@pytest.mark.parametrize(
    "content",
    [b"", b"no picture", bomb(20_000), bomb(2**31 - 1)],
    ids=["empty", "text", "large", "huge"],
)
def test_unreadable_pictures_are_named_and_counted(folder, refused, content):
    path, _ = folder
    (path / "cat" / "bad.png").write_bytes(content)
    (path / "owl" / "worse.jpg").write_bytes(content)
    message = refused(load_dataset, path)
    assert "2 of 20 pictures cannot be read: cat/bad.png, owl/worse.jpg" in message


def test_a_picture_that_is_cut_is_named(folder, refused):
    path, _ = folder
    content = (path / "dog" / "3.png").read_bytes()
    (path / "dog" / "3.png").write_bytes(content[: len(content) // 2])
    assert "1 of 18 pictures cannot be read: dog/3.png" in refused(load_dataset, path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_links_and_pipes_do_not_hang(folder, refused):
    path, _ = folder
    (path / "cat" / "loop").symlink_to(path)
    assert len(load_dataset(path).labels) == 3
    os.mkfifo(path / "cat" / "pipe.png")
    (path / "dog" / "gone.png").symlink_to(path / "nowhere")
    message = refused(load_dataset, path)
    assert "2 of 20 pictures cannot be read: cat/pipe.png, dog/gone.png" in message


def test_hidden_files_and_links_into_the_data_set_are_left_out(folder):
    path, _ = folder
    whole = load_dataset(path)
    (path / "cat" / "._0.png").write_bytes(b"no picture")
    picture(path / "cat" / ".old" / "7.png")
    (path / "kitten").symlink_to("cat")
    (path / "up").symlink_to("..")
    data = load_dataset(path)
    assert data.digest == whole.digest and data.labels == whole.labels
    assert data.notes[0] == "left out, as links to what the data set has already: kitten, up"
    # A class may well lie elsewhere.
    (path / "cat").rename(path.parent / "elsewhere")
    (path / "cat").symlink_to(path.parent / "elsewhere")
    assert load_dataset(path).digest == whole.digest


def test_pictures_are_those_that_keras_reads(folder):
    path, _ = folder
    picture(path / "dog" / "deep" / "odd.JPG", size=(9, 9), mode="RGB", kind="JPEG")
    _, keras = quiet_tensorflow.load()
    read = keras.utils.image_dataset_from_directory
    batches = read(path, image_size=(5, 7), shuffle=False, batch_size=99, verbose=False)
    x, y = next(iter(batches))
    data = load_dataset(path, resize=(5, 7, 3))
    found = np.concatenate([data.x_train, data.x_test])
    labels = np.concatenate([data.y_train, data.y_test])
    kept = {(image.tobytes(), label) for image, label in zip(found, labels, strict=True)}
    wanted = np.rint(x).astype(np.uint8)
    assert kept == {(w.tobytes(), n) for w, n in zip(wanted, y.numpy(), strict=True)}


def test_a_class_without_pictures_to_train_on(tmp_path, refused):
    picture(tmp_path / "train" / "a" / "1.png")
    picture(tmp_path / "test" / "a" / "1.png")
    picture(tmp_path / "test" / "b" / "1.png")
    assert "no picture to train on of a class: b in" in refused(load_dataset, tmp_path)


def test_folders_without_pictures(tmp_path, refused):
    (tmp_path / "a").mkdir()
    assert "no subfolders of pictures" in refused(load_dataset, tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    assert "which of these is the training part" in refused(load_dataset, tmp_path)


def test_a_class_may_be_called_train_and_a_table_lie_beside(folder):
    path, _ = folder
    picture(path / "train" / "1.png")
    (path / "owners.csv").write_text("name,age\nada,3\n")
    assert load_dataset(path).labels == ("cat", "dog", "owl", "train")


def test_many_pictures_stay_on_the_disk(folder, monkeypatch):
    path, _ = folder
    whole = load_dataset(path)
    monkeypatch.setattr(stored, "MOST_IN_MEMORY", 300)
    data = load_dataset(path)
    assert isinstance(data.x_train, stored.StoredRows)
    assert data.digest == whole.digest
    assert "of data are kept in" in data.notes[0]
