"""The .npz reader, on good files and on hostile ones."""

from __future__ import annotations

import io
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from compressor.data import load_dataset
from compressor.data.npz import read_npz

MIB = 2**20


def npy(array, **options):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, **options)
    return stream.getvalue()


def npy_header(shape, descr="|u1", fortran="False"):
    """A .npy header that says what it is told to."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def patch(path, name, offset, value, width):
    """Overwrite a field of the entry of `name` in the zip directory."""
    content = bytearray(path.read_bytes())
    start = content.rfind(b"PK\x01\x02", 0, content.rfind(f"{name}.npy".encode()))
    content[start + offset : start + offset + width] = value.to_bytes(width, "little")
    path.write_bytes(content)


@pytest.fixture
def pack(tmp_path, arrays):
    """Write data.npz: the small data set, with raw members in the place of some of its own."""

    def write(compression=zipfile.ZIP_DEFLATED, **members):
        path = tmp_path / "data.npz"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for key, array in arrays.items():
                content = members.get(key, array)
                if isinstance(content, np.ndarray):
                    content = npy(content)
                archive.writestr(f"{key}.npy", content)
        return path

    return write


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_round_trip(tmp_path, arrays, save):
    save(tmp_path / "data.npz", **arrays, other=np.array([None]))
    read = read_npz(str(tmp_path / "data.npz"))
    assert read.pop("w_train") is None
    for array, expected in zip(read.values(), arrays.values(), strict=True):
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)


def test_fortran_order_big_endian_and_version_2(pack, arrays):
    path = pack(
        x_train=npy(np.asfortranarray(arrays["x_train"])),
        y_train=npy(arrays["y_train"].astype(">i4"), version=(2, 0)),
    )
    data = load_dataset(path)
    assert np.array_equal(data.x_train, arrays["x_train"])
    assert data.x_train.flags.c_contiguous
    assert np.array_equal(data.y_train, arrays["y_train"])


def test_python_2_header_is_read_without_a_warning(pack, arrays):
    content = npy_header("(6L, 4L, 3L)") + arrays["x_train"].tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_npz(pack(x_train=content))["x_train"], arrays["x_train"])


def test_missing_arrays_are_named_and_those_there(tmp_path, arrays, refused):
    path = tmp_path / "data.npz"
    np.savez(path, x_train=arrays["x_train"], labels=arrays["y_train"], **{"bad\nname": 1})
    message = refused(read_npz, path)
    assert "lacks y_train, x_test, y_test" in message
    assert "--x and --y" in message
    assert "has x_train, labels, 'bad\\nname'" in message


def test_many_names_are_cut(tmp_path, refused):
    np.savez(tmp_path / "data.npz", **{f"a{i}": np.zeros(1) for i in range(30)})
    message = refused(read_npz, tmp_path / "data.npz")
    assert "a9 and 20 more" in message


def test_array_twice(pack, refused):
    path = pack()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train", npy(np.zeros((6, 4, 3), np.uint8)))
    assert "has an array twice: x_train" in refused(read_npz, path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04" + bytes(100), b"PK\x05\x06" + bytes(9)]
)
def test_not_a_zip(tmp_path, refused, content):
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    assert "not a readable .npz file" in refused(read_npz, path)


def test_truncated_zip(pack, refused):
    path = pack()
    path.write_bytes(path.read_bytes()[:-30])
    assert "not a readable .npz file" in refused(read_npz, path)


def test_python_objects_are_not_unpickled(tmp_path, arrays, refused):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    arrays["x_train"] = np.array([[Trap()]], object)
    np.savez(tmp_path / "data.npz", **arrays)
    message = refused(read_npz, tmp_path / "data.npz")
    assert "array of Python objects is refused: x_train" in message


@pytest.mark.parametrize(
    ("key", "array", "said"),
    [
        ("x_train", np.zeros((6, 4, 3), bool), "x_train in"),
        ("x_train", np.zeros((6, 4, 3), complex), "is complex128"),
        ("x_test", np.zeros((6, 4, 3), "u1,O"), "array of Python objects is refused: x_test"),
        ("x_test", np.zeros((6, 4, 3), "u1,u1"), "cannot be used: x_test"),
        ("x_test", np.zeros((6, 4, 3), "S0"), "cannot be used: x_test"),
        ("y_train", np.array(["5"] * 6), "cannot be used: y_train"),
        ("y_test", np.zeros(0, np.uint8), "array is empty: y_test"),
        ("x_train", np.zeros((0, 4, 3), np.uint8), "array is empty: x_train"),
        ("x_train", np.full((6, 4, 3), np.nan), "NaN or infinity: x_train in"),
        ("x_train", np.full((6, 4, 3), 2**31), "do not fit into int32: x_train in"),
        ("y_train", np.array([0, 1, 2, 2, 1, np.nan]), "labels hold NaN or infinity: y_train in"),
        ("y_test", np.array([0, 1, 2, np.inf]), "labels hold NaN or infinity: y_test in"),
    ],
)
def test_refused_arrays(pack, refused, key, array, said):
    assert said in refused(load_dataset, pack(**{key: array}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is damaged"),
        (b"plain text", "is damaged"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "structured array, or none"),
        (npy(np.zeros(6, [("é", "u1")]), version=(3, 0)), "structured"),
        (npy_header("(6, 4, 3)") + bytes(71), "contradicts itself"),
        (npy_header("(6, 4, 3)") + bytes(73), "contradicts itself"),
        (npy_header("(-6, -4, 3)") + bytes(72), "impossible shape"),
        (npy_header("(" + "1, " * 40 + ")") + bytes(1), "impossible shape"),
        (npy_header("(2**40,)"), "is damaged"),
        (npy_header("'six'"), "is damaged"),
        (npy_header("(6, 4, 3)", "no type") + bytes(72), "is damaged"),
        (npy_header("(" * 3000), "is damaged"),
        (npy_header("-" * 9000 + "1"), "is damaged"),
        (npy_header("(" + "9" * 4000 + ",)"), "contradicts itself"),
        (npy_header("(1099511627776, 1024, 1024)") + bytes(72), "contradicts itself"),
        (npy_header("(4294967296, 4294967296)"), "contradicts itself"),
        (npy_header("()") + b"\0", "wrong number of dimensions"),
    ],
)
def test_hostile_members(pack, refused, content, said):
    message = refused(load_dataset, pack(x_train=content))
    assert said in message
    assert "x_train in" in message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(pack, refused, method):
    assert f"(method {method})" in refused(read_npz, pack(method))


def test_encrypted(pack, refused):
    path = pack()
    patch(path, "y_train", 8, 0x1, 2)
    assert "is encrypted: y_train" in refused(read_npz, path)


def test_wrong_crc(pack, refused):
    path = pack()
    patch(path, "x_test", 16, 12345, 4)
    message = refused(read_npz, path)
    assert ".npz file is damaged: x_test" in message
    assert "CRC" in message


def test_damaged_data(pack, arrays, refused):
    path = pack(zipfile.ZIP_STORED)
    content = path.read_bytes()
    path.write_bytes(content.replace(arrays["x_test"].tobytes(), bytes(48)))
    assert ".npz file is damaged: x_test" in refused(read_npz, path)


def test_directory_declares_more_than_the_cap(pack, refused):
    path = pack()
    patch(path, "x_train", 24, 0xFFFFFFF0, 4)
    patch(path, "x_test", 24, 0xFFFFFFF0, 4)
    assert "larger than 4 GiB" in refused(read_npz, path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_directory_declares_more_than_can_be_packed(pack, refused, method):
    path = pack(method)
    patch(path, "x_train", 24, 0x7FFFFFF0, 4)
    assert "cannot hold 2,147,483,632" in refused(read_npz, path)


def test_zip_bombs_take_little_memory(pack, refused):
    bomb = bytes(32 * MIB)
    honest = pack(x_train=npy_header("(6, 4, 3)") + bomb)
    assert peak_of(lambda: refused(read_npz, honest)) < 4 * MIB

    lying = pack(x_train=npy_header("(6, 4, 3)") + bomb)
    patch(lying, "x_train", 24, 128 + 72, 4)
    tracked: list[str] = []
    assert peak_of(lambda: tracked.append(refused(read_npz, lying))) < 4 * MIB
    assert ".npz file is damaged: x_train" in tracked[0]

    promising = pack(x_train=npy_header(f"({32 * MIB + 1}, 1)") + bomb)
    assert peak_of(lambda: refused(read_npz, promising)) < 4 * MIB


def peak_of(call):
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_not_a_regular_file(tmp_path, refused):
    (tmp_path / "data.npz").mkdir()
    assert "not a regular file" in refused(read_npz, tmp_path / "data.npz")
