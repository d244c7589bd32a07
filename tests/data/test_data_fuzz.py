"""Damaged files give arrays or one DataError line, and never anything else."""

from __future__ import annotations

import gzip
import io
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from compressor.data import load_dataset
from compressor.data.checks import as_images, as_labels
from compressor.data.idx import read_idx
from compressor.errors import DataError

QUICK = settings(max_examples=60, deadline=None, database=None)

# Where to write, what, and how many bytes are overwritten by it.
EDITS = st.lists(
    st.tuples(st.integers(0, 2**16), st.binary(max_size=6), st.integers(0, 6)),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def mutate(content, edits):
    damaged = bytearray(content)
    for place, text, length in edits:
        place %= len(damaged) + 1
        damaged[place : place + length] = text
    return bytes(damaged)


def check(reader, *arguments):
    """Read: an array comes back, or one line."""
    try:
        return reader(*arguments)
    except DataError as error:
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 1500
        return None


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
@pytest.mark.parametrize("zipped", [False, True])
@QUICK
@given(edits=EDITS)
def test_damaged_idx(folder, to_idx, dtype, zipped, edits):
    content = to_idx(np.arange(24, dtype=dtype).reshape(2, 4, 3))
    path = folder / "images"
    path.write_bytes(mutate(gzip.compress(content, mtime=0) if zipped else content, edits))
    array = check(read_idx, path)
    if array is not None:
        assert array.nbytes < 1000
        check(as_images, array, "x")
        check(as_labels, array, "y")


@QUICK
@given(edits=EDITS)
def test_damaged_idx_inside_good_gzip(folder, to_idx, edits):
    content = to_idx(np.arange(24, dtype=np.int32).reshape(2, 4, 3))
    path = folder / "images.gz"
    path.write_bytes(gzip.compress(mutate(content, edits), mtime=0))
    check(read_idx, path)


def small_npz(save):
    stream = io.BytesIO()
    images = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    labels = np.array([0, 1])
    save(stream, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return stream.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@QUICK
@given(edits=EDITS)
def test_damaged_npz(folder, save, edits):
    path = folder / "data.npz"
    path.write_bytes(mutate(small_npz(save), edits))
    check(load_dataset, path)


@QUICK
@given(edits=EDITS)
def test_damaged_npy_inside_good_npz(folder, edits):
    path = folder / "inner.npz"
    with (
        zipfile.ZipFile(io.BytesIO(small_npz(np.savez))) as good,
        zipfile.ZipFile(path, "w") as bad,
    ):
        for member in good.infolist():
            content = good.read(member)
            bad.writestr(
                member, mutate(content, edits) if member.filename == "x_train.npy" else content
            )
    check(load_dataset, path)


@QUICK
@given(
    members=st.lists(
        st.one_of(
            st.sampled_from(["x_train", "x_test", "y_train", "y_test", "x_train/", "x_test/a"]),
            st.text(st.sampled_from("xy_trainse/.a\né"), max_size=12),
            st.from_regex(r"x_(train|test)[/_.][ab/.]{0,2}", fullmatch=True),
        ),
        max_size=8,
    )
)
def test_any_names_of_members(folder, members):
    path = folder / "names.npz"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for member in members:
            array = np.array([0, 1]) if member.startswith("y") else np.zeros((2, 3), np.uint8)
            stream = io.BytesIO()
            np.lib.format.write_array(stream, array)
            archive.writestr(f"{member}.npy", stream.getvalue())
    data = check(load_dataset, path)
    if data is not None and not hasattr(data.x_train, "shape"):
        assert list(data.x_train) == list(data.x_test) == sorted(data.x_train)
        assert all(data.x_train)


@QUICK
@given(content=st.binary(max_size=200), zipped=st.booleans())
def test_any_bytes(folder, content, zipped):
    path = folder / "any.npz"
    path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    check(read_idx, path)
    check(load_dataset, path)
