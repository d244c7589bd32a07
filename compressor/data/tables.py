"""Reading CSV and Parquet files, by pandas."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.files import LARGEST_DATASET, open_regular, too_large
from compressor.data.found import Asked, Found, found_in, planned
from compressor.data.inputs import listed
from compressor.errors import DataError

_LARGEST_TEXT = 2**30
_LONGEST_LINE = 2**22
_PACKED = re.compile(rb"\x1f\x8b|BZh[1-9]1AY&SY|\xfd7zXZ|\x28\xb5\x2f\xfd|PK\x03\x04")
"""How gzip, bzip2, xz, zstd and ZIP begin: pandas would unpack any amount."""
_MOST_COLUMNS = 16384
_MOST_CATEGORIES = 1000


def read_table(parts: Mapping[str, Path], asked: Asked) -> Found:
    """Read tables, one a part, whose columns `asked.label` are the targets.

    Numbers and bools are inputs as they are, float32; a column of texts becomes one column of 0 or
    1 for each text of either part, after those of numbers, as pandas' `get_dummies` orders them. A
    label of texts is numbered in their order, and the texts are the labels; several columns give
    targets (n, columns); without a label there are no targets. Raises DataError where pandas is not
    installed, for a column that is neither numbers nor categories, and for a missing value, by
    column and row, counted from 1.
    """
    asked.only("a table", "label")
    pandas = _pandas()
    tables = {part: _read(pandas, path) for part, path in parts.items()}
    for part, table in tables.items():
        if missing := [name for name in asked.label if name not in table]:
            raise DataError(
                f"the table has no column {listed(missing)}",
                value=f"{parts[part]} (has {listed(table.columns)})",
                hint="name the label with --label",
            )
        if list(table.columns) != list(tables["train"].columns):
            raise DataError("the tables have other columns", value=parts[part])
        _check_values(pandas, table, parts[part])
        for name in table.columns:
            if _is_number(pandas, table[name]) != _is_number(pandas, tables["train"][name]):
                raise DataError(
                    "a column holds numbers in one part and texts in another",
                    value=f"column {name} of {parts[part]} and of {parts['train']}",
                    hint="correct it, or leave the column out",
                )
    plan, notes = planned(tables)
    if not asked.label:
        notes += ("all columns are inputs: --label names those that are targets",)
    tables = {part: pandas.concat(each, ignore_index=True) for part, each in plan.items()}
    whole = pandas.concat(list(tables.values()), ignore_index=True)
    x = _inputs(pandas, whole.drop(columns=list(asked.label)), parts["train"])
    y, labels = _targets(pandas, whole, asked.label)
    count, path = len(tables["train"]), parts["train"]
    found: dict[str, Any] = dict.fromkeys(("y_train", "x_test", "y_test", "w_train"))
    found["x_train"] = x[:count]
    if y is not None:
        found["y_train"] = y[:count]
    if len(tables) > 1:
        found["x_test"] = x[count:]
        found["y_test"] = None if y is None else y[count:]
        for n, name in enumerate(labels or ()):
            if n not in found["y_train"]:
                raise DataError("there is no row to train on of a class", value=name)
            if n not in found["y_test"]:
                notes += (f"no row to test on of {name}",)
    return dataclasses.replace(found_in(found, path.stem, path), labels=labels, notes=notes)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        hint = "pip install 'compressor[tables]'"
        raise DataError("CSV and Parquet files need pandas and pyarrow", hint=hint) from error
    return pandas


def _read(pandas: Any, path: Path) -> Any:
    with open_regular(path) as (file, size):
        start = file.read(_LONGEST_LINE + 1)
    try:
        if start.startswith(b"PAR1"):
            return _read_parquet(pandas, path)
        if size > _LARGEST_TEXT:
            raise DataError(
                f"CSV file is larger than {_LARGEST_TEXT // 2**30} GiB",
                value=path,
                hint="save it as .npy files or as TFRecord",
            )
        if _PACKED.match(start):
            raise DataError("the table is compressed", value=path, hint="unpack it")
        line = start.partition(b"\n")[0]
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        if len(line) > _LONGEST_LINE or line.count(separator.encode()) >= _MOST_COLUMNS:
            raise DataError(f"the table has more than {_MOST_COLUMNS:,} columns", value=path)
        _check_header(start, separator, path)
        with warnings.catch_warnings():
            # What is in no column is left out with a warning, by default taken for names of rows.
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            table = pandas.read_csv(
                path, sep=separator, skipinitialspace=True, index_col=False, compression=None
            )
    except DataError:
        raise
    except pandas.errors.ParserWarning as error:
        raise DataError(
            "a row of the table has more fields than the header",
            value=_longer_row(path, separator),
            hint="give every column a name",
        ) from error
    except Exception as error:  # pandas and pyarrow raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise DataError("the table cannot be read", value=f"{path} ({reason})") from error
    return _checked(table, path)


def _check_header(start: bytes, separator: str, path: Path) -> None:
    """Raise DataError for a column that is named twice, which pandas would rename."""
    text = io.StringIO(start.decode("utf-8-sig", "replace"), newline="")
    lines = csv.reader(text, delimiter=separator, skipinitialspace=True)
    try:
        names = [name for name in next(filter(None, lines), []) if name.strip()]
    except csv.Error:
        return  # pandas says what is wrong
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise DataError("the table has a column twice", value=f"{twice[:100]} in {path}")


def _longer_row(path: Path, separator: str) -> str:
    """The first row, counted from 1, that has more fields than the first line."""
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = (row for row in csv.reader(file, delimiter=separator) if row)
        header = len(next(rows))
        number, fields = next(
            ((n, len(row)) for n, row in enumerate(rows, 1) if any(row[header:])), (1, header + 1)
        )
    return f"row {number} of {path} has {fields} fields, the header {header}"


def _read_parquet(pandas: Any, path: Path) -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        hint = "pip install 'compressor[tables]'"
        raise DataError("Parquet files need pyarrow", value=path, hint=hint) from error
    facts = parquet.ParquetFile(path).metadata
    if facts.num_columns > _MOST_COLUMNS:
        raise DataError(f"the table has more than {_MOST_COLUMNS:,} columns", value=path)
    if facts.num_rows * max(facts.num_columns, 1) * 8 > LARGEST_DATASET:
        raise too_large(path)
    return _checked(pandas.read_parquet(path), path)


def _checked(table: Any, path: Path) -> Any:
    table.columns = [str(name) for name in table.columns]
    if table.empty:
        raise DataError("the table has no rows", value=path)
    if not table.columns.is_unique:
        raise DataError("the table has a column twice", value=path)
    # The same as in a CSV file: categories in their own order, or without a row, are not kept.
    kept = [name for name in table.columns if str(table[name].dtype) == "category"]
    return table.assign(**{name: table[name].astype(object).infer_objects() for name in kept})


def _check_values(pandas: Any, table: Any, path: Path) -> None:
    """Raise DataError for a missing value, and for a column of neither numbers nor categories."""
    for name in table.columns:
        column = table[name]
        if (count := int(column.isna().sum())) > 0:
            row = int(np.flatnonzero(column.isna())[0]) + 1
            raise DataError(
                "the table has missing values (NaN)",
                value=f"column {name}, row {row}, {count} in that column of {path}",
                hint="fill them, or leave the rows out",
            )
        if _is_number(pandas, column):
            continue
        texts = np.array([isinstance(value, (str, bool)) for value in column])
        odd = ~texts
        if texts.all():
            values = pandas.Series(column.unique())
            numbers = values[pandas.to_numeric(values, errors="coerce").notna()]
            if len(numbers):
                others = ~column.isin(numbers)
                odd = others if others.any() else ~others
        if odd.any():
            row = int(np.flatnonzero(odd)[0])
            raise DataError(
                "a column is neither numbers nor categories",
                value=f"column {name}, row {row + 1} of {path}: {str(column.iloc[row])[:100]!r}",
                hint="correct it, or leave the column out",
            )


def _inputs(pandas: Any, table: Any, path: Path) -> np.ndarray:
    if table.columns.empty:
        raise DataError("the table has no column but the label", value=path)
    texts = [name for name in table.columns if not _is_number(pandas, table[name])]
    width = len(table.columns) - len(texts)
    for name in texts:
        count = table[name].nunique()
        width += count
        if count > _MOST_CATEGORIES:
            raise DataError(
                f"a column has more than {_MOST_CATEGORIES:,} categories",
                value=f"column {name} of {path} has {count:,}",
                hint="leave it out",
            )
    if width * len(table) * 4 > LARGEST_DATASET:
        raise too_large(path)
    found = pandas.get_dummies(table, columns=texts, dtype=np.float32)
    return np.ascontiguousarray(found.to_numpy(np.float32))


def _targets(
    pandas: Any, table: Any, names: tuple[str, ...]
) -> tuple[np.ndarray | None, tuple[str, ...] | None]:
    if not names:
        return None, None
    texts = [name for name in names if not _is_number(pandas, table[name])]
    if len(names) > 1:
        if texts:
            raise DataError("several labels must be numbers", value=f"column {texts[0]}")
        return _numbers(table[list(names)]), None
    if not texts:
        return _numbers(table[names[0]]), None
    classes, numbers = np.unique(table[names[0]].astype(str), return_inverse=True)
    return numbers.astype(np.int64), tuple(map(str, classes))


def _numbers(columns: Any) -> np.ndarray:
    """Integers where all are whole, else floats; whatever type a column keeps them in."""
    values: np.ndarray = columns.to_numpy(np.float64)
    fits = np.isfinite(values).all() and np.abs(values).max() < 2**53
    return values.astype(np.int64) if fits and (values == np.trunc(values)).all() else values


def _is_number(pandas: Any, column: Any) -> bool:
    return bool(pandas.api.types.is_numeric_dtype(column)) and not (
        pandas.api.types.is_complex_dtype(column)
    )
