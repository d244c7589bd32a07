"""Data sets that come in batches: tf.data, keras.utils.PyDataset, generators; and other objects.

A stream is read once, into arrays: in memory where it is small, else on the disk (`Spool`).
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compressor.data.found import Asked, Found, found_in, planned
from compressor.data.inputs import listed
from compressor.data.members import KEYS
from compressor.data.npz import arranged
from compressor.data.stored import Spool, StoredRows, storable
from compressor.errors import DataError, UsageError
from compressor.foundation import quiet_tensorflow
from deploy.text import clean

SAVED = "dataset_spec.pb"
"""The file that is in every folder that `tf.data.Dataset.save` wrote."""
_BATCH = 64
_MOST_SHOWN = 300
_LONGEST_MESSAGE = 2000
_ROWS = ("tensorslice", "tfrecord", "textline", "range")
_OPAQUE = ("flatmap", "interleave")
"""tf.data's classes, in lower case, that give rows, or whatever a function gives."""
_GRAPH = re.compile(r"\{\{[^{}]*\}\}|\[\[[^\[\]]*\]\]|\[Op:[^\[\]]*\]( name:)?")


def from_python(source: Any, asked: Asked) -> Found:
    """The data set that a Python object holds.

    `source` is an array x, a tuple (x, y) or (x, y, sample weights) of arrays, a dict of arrays by
    the keys x_train, y_train, x_test, y_test (or x and y; also w_train or w), a stream of batches,
    or a dict of such sources as `train` and `test`. A stream is a `tf.data.Dataset`, of batches or
    of single rows, a `keras.utils.PyDataset`, or any iterable of batches, each as Keras takes it:
    x, (x, y) or (x, y, sample weights), where x and y are arrays or dicts of arrays by name;
    `asked.x` and `asked.y` choose the arrays of a batch that is one dict. Raises DataError for
    anything else.
    """
    asked.only("this object", "x", "y")
    if isinstance(source, Mapping) and {"train", "test"} & set(source):
        if set(source) != {"train", "test"}:
            raise DataError("a data set has the parts train and test", value=listed(source))
        train, test = (from_python(source[part], asked) for part in ("train", "test"))
        x_test, y_test, notes = test.x_train, test.y_train, train.notes + test.notes
        return dataclasses.replace(train, x_test=x_test, y_test=y_test, notes=notes)
    if isinstance(source, (Mapping, tuple)) or hasattr(source, "__array__"):
        asked.only("this object")
    if isinstance(source, Mapping):
        keys = {*KEYS, "x", "y", "w", "w_train"}
        if not set(source) <= keys or not {"x", "x_train"} & set(source):
            hint = "give x_train, y_train, x_test and y_test, or x and y"
            raise DataError("a dict of arrays has other keys", value=listed(source), hint=hint)
        x = "x" if "x" in source else "x_train"
        y = "y" if x == "x" else "y_train"
        if {"w", "w_train"} <= set(source):
            raise DataError("the sample weights are given twice", value="w and w_train")
        w = "w" if "w" in source else "w_train"
        values = {key: _arrays(value, key) for key, value in source.items() if value is not None}
        if "y_test" in values and "x_test" not in values:
            raise DataError("a dict of arrays has a y_test without an x_test", value=listed(source))
        x_train, weights = values[x], values.get(w)
        y_train, x_test, y_test = map(values.get, (y, "x_test", "y_test"))
        return Found("data", x_train, y_train, x_test, y_test, weights)
    if isinstance(source, tuple):
        if not 1 <= len(source) <= 3:
            raise DataError("a tuple is (x, y) or (x, y, sample weights)", value=len(source))
        given = [None if part is None else _arrays(part, "data") for part in source]
        x_train, y_train, weights = (*given, None, None)[:3]
        return Found("data", x_train, y_train, weights=weights)
    if hasattr(source, "__array__"):
        return Found("data", _arrays(source, "data"))
    return read_stream({"train": source}, asked, "data")


def read_saved(parts: Mapping[str, Path], asked: Asked, name: Path | None = None) -> Found:
    """Read what `tf.data.Dataset.save` wrote without compression, a folder a part."""
    asked.only("a saved tf.data dataset", "x", "y")
    tensorflow, _ = quiet_tensorflow.load()
    streams = {}
    for part, path in parts.items():
        try:
            streams[part] = tensorflow.data.Dataset.load(str(path))
        except Exception as error:  # whatever a damaged description makes it raise
            raise _unreadable(str(path), error) from error
    return read_stream(streams, asked, (name or parts["train"]).resolve().name)


def read_stream(parts: Mapping[str, Any], asked: Asked, name: str) -> Found:
    """Read the streams of the parts train, test and val (`planned`), each once.

    Raises DataError for batches that cannot be used, and where the disk has no room for them.
    """
    for key in ("x", "y"):
        if len(names := getattr(asked, key)) > 1:
            raise UsageError(f"a stream takes one name as --{key}", value=listed(names))
    plan, notes = planned(parts)
    found = dict.fromkeys((*KEYS, "w_train"))
    noted: list[str] = []
    for part, sources in plan.items():
        spool = Spool()
        streams = (_batches(source, asked, noted) for source in sources)
        for batch in itertools.chain.from_iterable(streams):
            spool.append(_flat(_unpacked(batch, asked)))
        arrays = spool.finish()
        if not arrays:
            raise DataError("the stream gives no batch", value=f"{part} of {name}")
        members = {key: _members(arrays, key) for key in ("x_train", "y_train", "w_train")}
        tree = arranged(members, arrays)
        found[f"x_{part}"], found[f"y_{part}"] = tree["x_train"], tree["y_train"]
        if part == "train":
            found["w_train"] = tree["w_train"]
        notes += spool.notes(arrays)
    notes += tuple(dict.fromkeys(noted))
    return dataclasses.replace(found_in(found, name, name), notes=notes)


def _batches(source: Any, asked: Asked, noted: list[str]) -> Iterator[Any]:
    """The batches of a stream, as numpy arrays; what is assumed of it is added to `noted`."""
    tensorflow, keras = quiet_tensorflow.load()
    if isinstance(source, tensorflow.data.Dataset):
        if int(source.cardinality()) == tensorflow.data.INFINITE_CARDINALITY:
            raise DataError("the stream has no end", value=source, hint="cut it with .take(n)")
        is_batched, *assumed = _is_batched(source, asked)
        noted += assumed
        dataset = source if is_batched else source.batch(_BATCH)
        with _errors_of(tensorflow):
            yield from dataset.as_numpy_iterator()
    elif isinstance(source, keras.utils.PyDataset):
        if source.num_batches is None:
            raise DataError("the stream has no end", hint="give it a length, __len__")
        for number in range(source.num_batches):
            yield source[number]
    elif isinstance(source, collections.abc.Iterable) and not isinstance(source, (str, bytes)):
        yield from source
    else:
        raise DataError(
            "this is no data set",
            value=repr(source)[:_MOST_SHOWN],
            hint="give a path, a tf.data.Dataset, a keras.utils.PyDataset, a generator of batches, "
            "a tuple (x, y) or a dict",
        )


def _is_batched(dataset: Any, asked: Asked) -> tuple[bool] | tuple[bool, str]:
    """Whether the elements are batches, with a note where that is only assumed.

    They are where the first axis of all arrays is open, or where the last operation that makes or
    undoes batches makes them (`_is_made_of_batches`). Where neither says so, as of a saved dataset,
    the shape that the model takes decides, else they are taken for rows.
    """
    tensorflow, _ = quiet_tensorflow.load()
    spec = dataset.element_spec
    shapes = [getattr(each, "shape", None) for each in tensorflow.nest.flatten(spec)]
    known = [shape for shape in shapes if shape is not None and shape.rank is not None]
    if any(shape.rank == 0 for shape in known):
        return (False,)
    first = {shape[0] for shape in known}
    if first == {None}:
        return (True,)
    if len(first) > 1:
        return (False,)
    made = _is_made_of_batches(dataset)
    if made is not None:
        return (made,)
    if len(known) < len(shapes):
        return (True,)
    x = tensorflow.nest.flatten(spec[0] if isinstance(spec, tuple) else spec)[0].shape
    taken = (None if asked.sizes is None else asked.sizes()) or ()
    if taken and x.is_compatible_with(taken) != x[1:].is_compatible_with(taken):
        return (bool(x[1:].is_compatible_with(taken)),)
    return False, (
        f"the elements of the stream, {x}, are taken for single examples: batches need an open "
        "first axis, as batch(n) makes it"
    )


def _is_made_of_batches(dataset: Any) -> bool | None:
    """Whether tf.data's operations make batches of rows; None where they do not say."""
    while True:
        kind = type(dataset).__name__.lower()
        if "unbatch" in kind or any(name in kind for name in _ROWS):
            return False
        if "batch" in kind:
            return True
        inputs: list[Any] = getattr(dataset, "_inputs", list)()
        if not inputs or any(name in kind for name in _OPAQUE):
            return None
        dataset = inputs[0]


@contextlib.contextmanager
def _errors_of(tensorflow: Any) -> Iterator[None]:
    try:
        yield
    except (tensorflow.errors.OpError, TypeError) as error:
        raise _unreadable("tf.data", error) from error


def reason_of(error: Exception) -> str:
    """What an error of TensorFlow says, without the places in its graph."""
    text = _GRAPH.sub(" ", str(getattr(error, "message", error))[:_LONGEST_MESSAGE])
    return clean(" ".join(text.split()))[:_MOST_SHOWN]


def _unreadable(where: str, error: Exception) -> DataError:
    return DataError("the stream cannot be read", value=f"{where} ({reason_of(error)})")


def _unpacked(batch: Any, asked: Asked) -> tuple[Any, Any, Any]:
    """(x, y, sample weights) of a batch; y and the weights may be None."""
    if isinstance(batch, Mapping):
        keys = [*asked.x[:1], *asked.y[:1]]
        if missing := [key for key in keys if key not in batch]:
            raise DataError(
                f"the batches have no {listed(missing)}", value=f"they have {listed(batch)}"
            )
        y = batch[asked.y[0]] if asked.y else None
        rest = {name: array for name, array in batch.items() if name not in asked.y}
        return batch[asked.x[0]] if asked.x else rest, y, None
    if asked.x or asked.y:
        raise DataError("the batches have no names", value=listed((*asked.x, *asked.y)))
    if isinstance(batch, (tuple, list)):
        if not 1 <= len(batch) <= 3:
            raise DataError("a batch is (x, y) or (x, y, sample weights)", value=len(batch))
        x, y, weights = (*batch, None, None)[:3]
        return x, y, weights
    return batch, None, None


def _flat(batch: tuple[Any, Any, Any]) -> dict[str, np.ndarray]:
    """The arrays of a batch by the names that an .npz file gives them."""
    flat = {}
    for key, part in zip(("x_train", "y_train", "w_train"), batch, strict=True):
        if part is None:
            continue
        arrays = _arrays(part, key)
        for name, array in arrays.items() if isinstance(arrays, dict) else [("", arrays)]:
            if array.ndim == 0:
                raise DataError("a batch has single numbers, not rows", value=clean(name or key))
            flat[f"{key}/{name}" if name else key] = storable(array, clean(name or key), key)
    sizes = {len(array) for array in flat.values()}
    if len(sizes) != 1:
        shown = listed(f"{name} {array.shape}" for name, array in flat.items())
        raise DataError("the arrays of a batch have not as many rows each", value=shown)
    return flat


def _members(arrays: Iterable[str], key: str) -> dict[str, str]:
    return {
        name.removeprefix(key).removeprefix("/"): name
        for name in arrays
        if name == key or name.startswith(f"{key}/")
    }


def _check_unmasked(array: Any, where: object) -> None:
    if np.ma.is_masked(array):
        hint = "fill what is masked, or leave the rows out"
        raise DataError("the array has masked values", value=where, hint=hint)


def _arrays(part: Any, where: str) -> Any:
    """An array, or a dict of arrays, of whatever can be one."""
    if isinstance(part, StoredRows):
        return part
    if isinstance(part, Mapping):
        for name, array in part.items():
            _check_unmasked(array, name)
        return {str(name): np.asarray(array) for name, array in part.items()}
    _check_unmasked(part, where)
    if isinstance(part, (tuple, list)) and part and np.ndim(part[0]):
        raise DataError(
            "several arrays need a name each",
            value=f"{where} is a {type(part).__name__} of {len(part)}",
            hint="give a dict, with the names that they have in the model",
        )
    try:
        return np.asarray(part)
    except (TypeError, ValueError) as error:
        raise DataError("this is no array", value=f"{where} ({clean(str(error))[:200]})") from error
