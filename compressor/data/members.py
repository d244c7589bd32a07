"""Which members of an .npz file are the inputs and the labels of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compressor.data.inputs import listed
from compressor.errors import DataError, UsageError
from deploy.text import clean

KEYS = ("x_train", "y_train", "x_test", "y_test")

# What stands between a part and the name of an input, the first that a file uses. The file is
# read in one way only: beside x_train/left, an x_train_mean is no input.
_SEPARATORS = ("/", "_", ".")


def dataset_members(
    members: Sequence[str], path: Path, x: Sequence[str] = (), y: Sequence[str] = ()
) -> dict[str, dict[str, str]]:
    """Key of `KEYS` -> name of the input or output -> its member, sorted by name.

    "" names one array; several inputs or outputs are KEY/NAME. A file without any y has no targets,
    and `w_train` is there only where it has sample weights. A file with `x` and maybe `y` and `w`,
    or with x_train and y_train alone, has no test part, and nothing is given for it. `x` and `y`
    are other keys to take, one each, or two: of the training and of the test part. An array that is
    missing is named all the same, for the reader to refuse. Raises DataError, naming `path`, as
    `_pairs` does.
    """
    has = {key for key in (*KEYS, "x", "y") if _there(members, key)}
    tests = any(member.startswith(("x_test", "y_test")) for member in members)
    alone = "x" in has and not has & {"x_train", "x_test"}
    if alone:
        found = _chosen(members, x or ("x",), y or ("y",) * ("y" in has))
    elif x or y or (has == {"x_train", "y_train"} and not tests):
        both = ("train", "test") if tests else ("train",)
        plain = tuple(f"y_{part}" for part in both if f"y_{part}" in has)
        found = _chosen(members, x or tuple(f"x_{part}" for part in both), y or plain)
    else:
        return _pairs(members, path)
    return found | _weights(members)


def _weights(members: Sequence[str]) -> dict[str, dict[str, str]]:
    found = [key for key in ("w", "w_train") if key in members]
    if len(found) > 1:
        raise UsageError("the sample weights are given twice", value=listed(found))
    return {"w_train": {"": found[0]}} if found else {}


def _there(members: Sequence[str], key: str) -> bool:
    return any(member == key or member.startswith(f"{key}/") for member in members)


def _chosen(
    members: Sequence[str], x: Sequence[str], y: Sequence[str]
) -> dict[str, dict[str, str]]:
    if y and len(x) != len(y):
        raise UsageError("x and y need as many keys each", value=f"x {listed(x)}; y {listed(y)}")
    pairs = [*zip(("x_train", "x_test"), x, strict=False)]
    pairs += zip(("y_train", "y_test"), y, strict=False)
    return {
        key: {"": name} if name in members else _inputs(members, f"{name}/") or {"": name}
        for key, name in pairs
    }


def _pairs(members: Sequence[str], path: Path) -> dict[str, dict[str, str]]:
    """The members of a file with x_train, y_train, x_test and y_test.

    Several inputs are `x_train/NAME` and `x_test/NAME` (also with `_` or `.` for the slash). With
    an x_train and an x_test, only members with a slash could be meant as inputs; all other members
    are left. Raises DataError for one array beside named inputs, an input without a name, or other
    names for train than for test.
    """
    plain = [part for part in ("x_train", "x_test") if part in members]
    separators = _SEPARATORS[:1] if len(plain) == 2 else _SEPARATORS
    train, test = {}, {}
    for separator in separators:
        train, test = (_inputs(members, part + separator) for part in ("x_train", "x_test"))
        if train or test:
            break
    # Beside x_train alone, an x_train_mean is no input, and what is missing is x_test.
    beside = [*train.values()] * (plain != ["x_train"]) + [*test.values()] * (plain != ["x_test"])
    if plain and beside:
        raise DataError(
            ".npz file mixes one array with named inputs",
            value=f"{listed(plain)} beside {listed(beside)} in {path}",
            hint="save one x_train and x_test, or x_train/NAME and x_test/NAME for every input",
        )
    if not beside and len(plain) < 2:
        return {key: {"": key} for key in KEYS}
    if not beside:
        return {"x_train": {"": "x_train"}, "x_test": {"": "x_test"}, **_others(members, path)}
    for inputs in (train, test):
        if "" in inputs:
            raise DataError(
                ".npz file has an input without a name",
                value=f"{clean(inputs[''])} in {path}",
                hint=f"save it as {inputs['']}NAME",
            )
    if train.keys() != test.keys():
        raise DataError(
            ".npz file has not the same inputs for train and test",
            value=f"{path} (train {listed(train)}; test {listed(test)})",
            hint=_missing(train, test, separator),
        )
    return {"x_train": train, "x_test": test, **_others(members, path)}


def _others(members: Sequence[str], path: Path) -> dict[str, dict[str, str]]:
    """The members of the targets, and of the sample weights."""
    plain = [part for part in ("y_train", "y_test") if part in members]
    train, test = (_inputs(members, f"{part}/") for part in ("y_train", "y_test"))
    if plain and (train or test):
        raise DataError(
            ".npz file mixes one array of targets with named ones",
            value=f"{listed(plain)} beside {listed([*train.values(), *test.values()])} in {path}",
            hint="save one y_train and y_test, or y_train/NAME and y_test/NAME for every output",
        )
    if train.keys() != test.keys() or "" in train:
        raise DataError(
            ".npz file has not the same targets for train and test",
            value=f"{path} (train {listed(train)}; test {listed(test)})",
            hint=_missing(train, test, "/", "y"),
        )
    if plain:
        train, test = {"": "y_train"}, {"": "y_test"}
    return {"y_train": train, "y_test": test} | _weights(members)


def _inputs(members: Sequence[str], prefix: str) -> dict[str, str]:
    """Name -> member of the inputs whose members begin with `prefix`, sorted by name."""
    return {
        member.removeprefix(prefix): member
        for member in sorted(members)
        if member.startswith(prefix)
    }


def _missing(train: dict[str, str], test: dict[str, str], separator: str, kind: str = "x") -> str:
    lacking = [f"{kind}_test{separator}{name}" for name in train if name not in test]
    lacking += [f"{kind}_train{separator}{name}" for name in test if name not in train]
    return f"it lacks {listed(lacking)}"
