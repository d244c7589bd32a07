"""Which files a path stands for."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from compressor.data import Dataset, load_dataset, loading
from compressor.data.mnist import FILES

HINT = "mnist is the embedded MNIST"


@pytest.fixture
def fill(arrays, to_idx):
    """Write the small data set as IDX files into a directory."""

    def write(directory, dotted=False, zipped=False):
        directory.mkdir(exist_ok=True)
        for name, array in zip(FILES, arrays.values(), strict=True):
            content = to_idx(array)
            name = name.replace("-idx", ".idx") if dotted else name
            if zipped:
                (directory / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
            else:
                (directory / name).write_bytes(content)
        return directory

    return write


def test_same_data_has_the_same_digest_whatever_file(tmp_path, arrays, fill):
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    wide = {k: a.astype(">i8") if k.startswith("y") else a for k, a in arrays.items()}
    wide["y_train"] = np.eye(3)[arrays["y_train"]]
    np.savez(tmp_path / "wide.NPZ.npz", **wide)
    (tmp_path / "only").mkdir()
    np.savez(tmp_path / "only" / "one.npz", **arrays)
    (tmp_path / "only" / "._one.npz").write_bytes(b"not for us")
    sources = [
        fill(tmp_path / "raw"),
        fill(tmp_path / "gz", zipped=True),
        fill(tmp_path / "dotted", dotted=True),
        fill(tmp_path / "dotted-gz", dotted=True, zipped=True),
        tmp_path / "packed.npz",
        tmp_path / "wide.NPZ.npz",
        tmp_path / "only",
    ]
    loaded = [load_dataset(source) for source in sources]
    assert {data.digest for data in loaded} == {Dataset.from_arrays("x", **arrays).digest}
    names = ["raw", "gz", "dotted", "dotted-gz", "packed", "wide.NPZ", "one"]
    assert [data.name for data in loaded] == names
    assert load_dataset(str(sources[0])).digest == loaded[0].digest


def test_other_integers_than_bytes_are_other_data(tmp_path, arrays):
    """Since bytes are scaled for a model, and nothing else is."""
    np.savez(tmp_path / "wide.npz", **{k: a.astype(np.int64) for k, a in arrays.items()})
    data = load_dataset(tmp_path / "wide.npz")
    assert data.x_train.dtype == np.int32
    assert np.array_equal(data.x_train, arrays["x_train"])
    assert data.digest != Dataset.from_arrays("x", **arrays).digest


def test_float_idx_images(tmp_path, arrays, to_idx):
    for name, array in zip(FILES, arrays.values(), strict=True):
        array = array / 255 if "images" in name else array.astype(np.int32)
        (tmp_path / name).write_bytes(to_idx(array))
    data = load_dataset(tmp_path)
    assert data.x_train.dtype == np.float32
    assert np.array_equal(data.x_train, (arrays["x_train"] / 255).astype(np.float32))


def test_non_finite_idx_images_name_the_file(tmp_path, arrays, to_idx, refused, fill):
    fill(tmp_path)
    (tmp_path / FILES[2]).write_bytes(to_idx(np.full((4, 4, 3), np.inf)))
    message = refused(load_dataset, tmp_path)
    assert "NaN or infinity" in message
    assert FILES[2] in message


def test_raw_is_preferred(tmp_path, fill):
    fill(tmp_path)
    for name in FILES:
        (tmp_path / f"{name}.gz").write_bytes(b"rubbish")
    load_dataset(tmp_path)


def test_directory_in_the_place_of_a_file(tmp_path, fill, refused):
    """As some archives of MNIST unpack: beside the file, a directory with the other name."""
    fill(tmp_path, dotted=True)
    (tmp_path / FILES[0]).mkdir()
    load_dataset(tmp_path)
    (tmp_path / FILES[0].replace("-idx", ".idx")).unlink()
    message = refused(load_dataset, tmp_path)
    assert "not a regular file" in message
    assert FILES[0] in message


@pytest.mark.parametrize("name", ["none", "file/below", "two\nlines"])
def test_path_that_does_not_exist(tmp_path, refused, name):
    (tmp_path / "file").write_bytes(b"")
    message = refused(load_dataset, tmp_path / name)
    assert message.startswith("data set does not exist: ")
    assert message.endswith(f"; {HINT}")


@pytest.mark.parametrize("path", ["x" * 5000, "null\0byte"])
def test_impossible_paths(refused, path):
    assert "cannot read the data set" in refused(load_dataset, path)


def test_empty_path_is_not_the_current_directory(refused):
    assert "path of the data set is empty" in refused(load_dataset, "")


def test_missing_files_are_named(tmp_path, fill, refused):
    fill(tmp_path)
    (tmp_path / FILES[1]).unlink()
    (tmp_path / FILES[3]).unlink()
    message = refused(load_dataset, tmp_path)
    assert f"lacks {FILES[1]}, {FILES[3]}: {tmp_path}" in message


def test_empty_directory(tmp_path, refused):
    message = refused(load_dataset, tmp_path)
    assert "directory holds no data set" in message
    assert all(name in message for name in FILES)


def test_several_npz_files(tmp_path, refused):
    for name in ("a.npz", "b.npz"):
        (tmp_path / name).write_bytes(b"")
    message = refused(load_dataset, tmp_path)
    assert "several .npz files" in message
    assert "a.npz, b.npz" in message


def test_file_of_another_kind(tmp_path, refused):
    path = tmp_path / "data.h5"
    path.write_text("1,2")
    assert "the file holds no data set that is known" in refused(load_dataset, path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_fifo(tmp_path, refused):
    os.mkfifo(tmp_path / "data.npz")
    assert "is a FIFO" in refused(load_dataset, tmp_path / "data.npz")


def test_unreadable_directory(tmp_path, refused, monkeypatch):
    def deny(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", deny)
    assert "Permission denied" in refused(load_dataset, tmp_path)


def test_count_mismatch(tmp_path, arrays, fill, to_idx, refused):
    fill(tmp_path)
    (tmp_path / FILES[1]).write_bytes(to_idx(arrays["y_train"][:-1]))
    assert "6 images, 5 labels" in refused(load_dataset, tmp_path)


def test_cap_holds_for_all_files_together(tmp_path, fill, refused, monkeypatch):
    fill(tmp_path)
    monkeypatch.setattr(loading, "LARGEST_DATASET", 72 + 6 + 48 + 4)
    load_dataset(tmp_path)
    monkeypatch.setattr(loading, "LARGEST_DATASET", 72 + 6 + 48 + 3)
    message = refused(load_dataset, tmp_path)
    assert "larger than" in message
    assert FILES[3] in message


def test_out_of_memory_is_one_line(tmp_path, fill, refused, monkeypatch):
    def exhaust(*arguments):
        raise MemoryError

    monkeypatch.setattr(loading, "read_idx", exhaust)
    assert "does not fit into memory" in refused(load_dataset, fill(tmp_path))
