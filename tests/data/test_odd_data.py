"""Data that were once read wrongly, partly, or with a traceback."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from compressor.data import Dataset, load_dataset
from compressor.errors import DataError, UsageError

TABLE = "a,b,y\n" + "".join(f"{n},{n * n},{n % 2}\n" for n in range(40))


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_a_compressed_table_is_not_unpacked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.csv.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("t.csv", TABLE)
    else:
        packer = {"gz": gzip, "bz2": bz2, "xz": lzma}[kind]
        path.write_bytes(packer.compress(TABLE.encode()))  # type: ignore[attr-defined]

    with pytest.raises((DataError, UsageError)) as raised:
        load_dataset(path, label="y")
    if kind != "zip":
        assert "unpack it" in str(raised.value)


def test_a_column_of_numbers_that_are_texts_on_the_test_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("a,b,y\n0,1,0\n1,2,1\n2,3,0\n")
    (tmp_path / "test.csv").write_text("a,b,y\nx,1,0\ny,2,1\n")

    with pytest.raises(DataError, match=r"column a .*test\.csv and of .*train\.csv"):
        load_dataset(tmp_path, label="y")


@pytest.mark.parametrize("cell", [[1.0, 2.0], {"k": 1}, b"bytes"])
def test_a_column_of_lists_is_named(tmp_path: Path, cell: Any) -> None:
    frame = pandas.DataFrame({"v": [cell] * 30, "y": [0, 1] * 15})
    frame.to_parquet(tmp_path / "t.parquet")

    with pytest.raises(DataError, match="neither numbers nor categories: column v, row 1 "):
        load_dataset(tmp_path / "t.parquet", label="y")


def test_a_column_that_a_csv_file_has_twice_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(TABLE.replace("a,b,y", "a,a,y"))

    with pytest.raises(DataError, match="a column twice: a in "):
        load_dataset(tmp_path / "t.csv", label="y")


@pytest.mark.parametrize(
    "header", ['y, "p, b", "q, b"', "y,a,b\r", "BZh,y,a", 'y,"a\nb",c', "\ny,a,b"]
)
def test_headers_of_all_kinds_are_read(tmp_path: Path, header: str) -> None:
    rows = "".join(f"{n % 2},{n % 2},{n}\n" for n in range(40))
    end = "\r" if header.endswith("\r") else "\n"
    text = (header.rstrip("\r") + "\n" + rows).replace("\n", end)
    (tmp_path / "t.csv").write_bytes(text.encode())

    assert load_dataset(tmp_path / "t.csv", label="y").x_train.shape[1:] == (2,)  # type: ignore[union-attr]


@pytest.mark.parametrize("header", ["a, a,y", "\na,a,y"])
def test_a_column_twice_is_found_behind_spaces_and_lines(tmp_path: Path, header: str) -> None:
    (tmp_path / "t.csv").write_text(TABLE.replace("a,b,y", header))

    with pytest.raises(DataError, match="a column twice"):
        load_dataset(tmp_path / "t.csv", label="y")


@pytest.mark.parametrize("key", ["w", "w_train"])
def test_sample_weights_beside_a_test_part(tmp_path: Path, key: str) -> None:
    x, y, w = np.ones((30, 4), np.float32), np.arange(30) % 2, np.linspace(0.1, 1, 30)
    given = {"x_train": x, "y_train": y, "x_test": x[:10], "y_test": y[:10], key: w}
    np.savez(tmp_path / "d.npz", **given)

    found = load_dataset(tmp_path / "d.npz").sample_weights

    assert found is not None
    np.testing.assert_allclose(found, w, rtol=1e-6)
    np.savez(tmp_path / "d.npz", **given, **{"w" if key == "w_train" else "w_train": w})
    with pytest.raises(UsageError, match="twice"):
        load_dataset(tmp_path / "d.npz")


@pytest.mark.parametrize("source", ["array", "tuple", "dict"])
def test_names_that_have_no_effect_on_a_python_object_are_refused(source: str) -> None:
    x, y = np.ones((30, 4), np.float32), np.arange(30) % 2
    given: Any = {"array": x, "tuple": (x, y), "dict": {"x": x, "y": y}}[source]

    with pytest.raises(UsageError, match="has no effect"):
        load_dataset(given, x="foo", y="bar")


def test_targets_of_a_test_part_without_inputs_are_not_thrown_away() -> None:
    x, y = np.ones((30, 4), np.float32), np.arange(30) % 2

    with pytest.raises(DataError, match="y_test without an x_test"):
        load_dataset({"x_train": x, "y_train": y, "y_test": y})


@pytest.mark.parametrize("named", [False, True])
def test_masked_values_are_not_read(named: bool) -> None:
    x = np.ma.masked_array(np.ones((30, 4), np.float32), mask=False)
    y = np.arange(30) % 2
    load_dataset({"x": x, "y": y})
    x[3, 2] = np.ma.masked

    with pytest.raises(DataError, match="masked"):
        load_dataset({"x": {"left": x} if named else x, "y": y})


@pytest.mark.parametrize("gray_first", [True, False])
def test_pictures_have_colours_if_any_has(tmp_path: Path, gray_first: bool) -> None:
    for n in range(12):
        folder = tmp_path / "train" / f"class{n % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        grey = (n < 6) == gray_first
        picture = Image.new("L" if grey else "RGB", (8, 8), 128 if grey else (255, 0, 0))
        picture.save(folder / f"{n:02}.png")

    found = load_dataset(tmp_path / "train")

    assert found.x_train.shape[1:] == (8, 8, 3)  # type: ignore[union-attr]


def test_whole_numbers_beyond_those_of_the_training_are_described() -> None:
    x = np.ones((20, 4), np.float32)
    found = Dataset.from_arrays("numbers", x, np.arange(20), x, np.arange(20) * 3)

    assert found.describe()["targets"][""]["shape"] == []
