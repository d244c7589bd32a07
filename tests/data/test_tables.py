"""CSV and Parquet files."""

from __future__ import annotations

import sys

import numpy as np
import pandas
import pytest

from compressor.data import load_dataset

ROWS = """age,town,member,weight,kind
1,Rom,True,0.5,ape
2,Ulm,False,1.5,bee
3,Rom,True,2.5,cow
4,Ulm,False,3.5,ape
5,Rom,True,4.5,bee
6,Bonn,True,5.5,ape
"""


@pytest.fixture
def table(tmp_path):
    """Write a table, by default `ROWS`."""

    def write(text=ROWS, name="t.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_numbers_categories_and_labels(table, tmp_path):
    data = load_dataset(table(), label="kind", test=0.4)
    assert data.labels == ("ape", "bee", "cow")
    rows = np.concatenate([data.x_train, data.x_test])
    assert rows.dtype == np.float32
    # age, member, weight, and Bonn, Rom or Ulm
    assert rows[rows[:, 0].argsort()].tolist() == [
        [1, 1, 0.5, 0, 1, 0],
        [2, 0, 1.5, 0, 0, 1],
        [3, 1, 2.5, 0, 1, 0],
        [4, 0, 3.5, 0, 0, 1],
        [5, 1, 4.5, 0, 1, 0],
        [6, 1, 5.5, 1, 0, 0],
    ]
    kinds = np.concatenate([data.y_train, data.y_test])
    assert kinds[rows[:, 0].argsort()].tolist() == [0, 1, 2, 0, 1, 0]
    assert set(data.y_train) == {0, 1, 2}
    frame = pandas.read_csv(table())
    towns = pandas.CategoricalDtype(["Ulm", "Rom", "Bonn", "Bern"])
    frame = frame.astype({"town": towns, "age": "category"})
    frame.to_parquet(tmp_path / "t.parquet")
    assert load_dataset(tmp_path / "t.parquet", label="kind", test=0.4).digest == data.digest
    assert load_dataset(
        table(ROWS.replace(",", "\t"), "t.tsv"), label="kind", test=0.4
    ).x_train.size


def test_numbers_may_be_the_label_and_several_columns_too(table):
    data = load_dataset(table(), label="weight")
    assert data.labels is None and data.y_train.dtype == np.float32
    data = load_dataset(table(), label=("weight", "age"))
    assert data.y_train.shape == (5, 2)
    data = load_dataset(table(), label=("member", "age"))
    assert data.y_train.dtype == np.uint8
    data = load_dataset(table())
    assert data.y_train is None and "--label" in data.notes[0]


def test_an_empty_field_at_the_end_of_each_row_is_no_column(table):
    rows = [line + "," * (n > 0) for n, line in enumerate(ROWS.splitlines())]
    data = load_dataset(table("\n".join(rows), "u.csv"), label="kind")
    assert data.digest == load_dataset(table(), label="kind").digest


def test_a_folder_with_two_tables(table, tmp_path):
    table(ROWS, "train.csv")
    table("age,town,member,weight,kind\n7,Bern,True,9,bee\n", "test.csv")
    data = load_dataset(tmp_path, label="kind")
    assert data.x_train.shape == (6, 7) and data.x_test.tolist() == [[7, 1, 9, 1, 0, 0, 0]]
    assert data.notes == ("no row to test on of ape", "no row to test on of cow")


@pytest.mark.parametrize(
    ("text", "label", "said"),
    [
        (ROWS, "sort", "the table has no column sort"),
        (ROWS.replace("2.5", ""), "kind", "missing values (NaN): column weight, row 3, 1 in that"),
        (ROWS.replace("cow", ""), "kind", "missing values (NaN): column kind, row 3"),
        (ROWS.replace("3.5", "many"), "kind", "nor categories: column weight, row 4 of"),
        (ROWS.replace("3.5", "inf"), "kind", "NaN or infinity"),
        ("a,b\n", "b", "the table has no rows"),
        ("", "b", "the table cannot be read"),
        ('a,b\n"1,2\n3,4\n', "b", "the table cannot be read"),
        ("a,b\n1,2\n1,2,3\n", "b", "the table cannot be read"),
        ("a,b\n1,2,3\n4,5,6\n", "b", "has more fields than the header: row 1 of"),
        ("a,b\n1,2,\n4,5,6\n", "b", "has more fields than the header: row 2 of"),
        ("\0\0\n\1", "b", "the table"),
        ("a\n1\n2\n3\n", "a", "no column but the label"),
        ("a," * 20_000 + "b\n", "b", "more than 16,384 columns"),
        (
            "b,n\n" + "".join(f"{i},text{i}\n" for i in range(1001)),
            "b",
            "more than 1,000 categories",
        ),
    ],
)
def test_tables_that_cannot_be_used(table, refused, text, label, said):
    assert said in refused(load_dataset, table(text), label=label)


def test_dates_are_no_numbers(tmp_path, refused):
    frame = pandas.DataFrame(
        {"a": [1, 2], "when": pandas.to_datetime(["2020-01-01", "2021-01-01"])}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    message = refused(load_dataset, tmp_path / "t.parquet", label="a")
    assert "neither numbers nor categories: column when, row 1" in message
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[:-20])
    assert "cannot be read" in refused(load_dataset, tmp_path / "t.parquet", label="a")


def test_without_pandas_the_command_to_install_is_given(table, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    message = refused(load_dataset, table(), label="kind")
    assert message.endswith("need pandas and pyarrow; pip install 'compressor[tables]'")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = table("PAR1", "t.parquet")
    assert "need pyarrow" in refused(load_dataset, path, label="kind")
