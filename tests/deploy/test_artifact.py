"""The description of an artefact, and its check vectors: good ones and hostile ones."""

from __future__ import annotations

import copy
import io
import json
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from descriptions import CONTENT, DESCRIPTION

from deploy import Artifact, ArtifactError, CheckVectors, read_artifact
from deploy.arrays import read_arrays, write_arrays


def places(content: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every value in a JSON object."""
    if path:
        yield path
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def at(content: Any, path: tuple) -> Any:
    for key in path:
        content = content[key]
    return content


def changed(path: tuple, value: Any) -> dict[str, Any]:
    content = copy.deepcopy(DESCRIPTION)
    at(content, path[:-1])[path[-1]] = value
    return content


def refusal(call, *arguments) -> str:
    with pytest.raises(ArtifactError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message and message.isprintable() and len(message) < 800
    return message


@pytest.fixture
def files(tmp_path):
    """An artefact with its description."""
    artefact = tmp_path / "digits.tflite"
    artefact.write_bytes(CONTENT)
    (tmp_path / "digits.tflite.json").write_text(json.dumps(DESCRIPTION))
    return artefact


def test_a_description_comes_back_as_it_was_and_in_the_same_order() -> None:
    artifact = Artifact.parse(json.loads(json.dumps(DESCRIPTION)))

    assert json.dumps(artifact.describe()) == json.dumps(DESCRIPTION)
    assert Artifact.parse(artifact.describe()) == artifact
    assert artifact.inputs[0].shape == (None, 8, 8, 1)
    assert artifact.labels == ("north", "east", "south", "wést")


def test_an_artefact_is_read_with_its_description(files) -> None:
    assert read_artifact(files).needs == {"DENSIFY": 1, "FULLY_CONNECTED": 9}
    assert read_artifact(str(files)) == Artifact.parse(DESCRIPTION)


def test_a_description_of_another_file_is_refused(files) -> None:
    files.write_bytes(CONTENT[:-1] + b"?")
    assert "sha256" in refusal(read_artifact, files)
    files.write_bytes(CONTENT + b"?")
    assert "size" in refusal(read_artifact, files)
    renamed = files.rename(files.with_name("b.tflite"))
    assert "FILE.json" in refusal(read_artifact, renamed)
    files.with_name("digits.tflite.json").rename(files.with_name("b.tflite.json"))
    assert "digits.tflite" in refusal(read_artifact, renamed)


def test_what_is_wrong_with_a_description_names_its_file(files) -> None:
    beside = files.with_name("digits.tflite.json")
    for change, said in (
        ({"schema": {"name": "compressor-artifact", "version": 1}}, "schema version"),
        ({"labels": ["one", "one", "two", "three"]}, "the same label"),
        ({"bytes": "many"}, "bytes"),
    ):
        beside.write_text(json.dumps(DESCRIPTION | change))
        message = refusal(read_artifact, files)
        assert said in message
        assert "digits.tflite.json" in message and "export it again" in message


def test_check_vectors_of_another_file_are_refused(files) -> None:
    beside = files.with_name("digits.tflite.check.npz")
    beside.write_bytes(b"vectors")
    assert read_artifact(files) == Artifact.parse(DESCRIPTION)
    beside.write_bytes(b"others")
    assert "digits.tflite.check.npz" in refusal(read_artifact, files)


@pytest.mark.parametrize(
    "path", list(places(DESCRIPTION)), ids=lambda path: ".".join(map(str, path))
)
def test_whatever_stands_in_a_field_is_taken_as_it_is_or_refused(path) -> None:
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    strange = [None, True, -1, 0, 10**400, 1e308 * 10, float("nan"), "", "a\nb", "x" * 9999]
    strange += ["\x1b[2J", "../up", [], {}, [None], {"a": 1}, deep, [[1]] * 3, [-1], [2**70]]
    for value in strange:
        content = changed(path, value)
        try:
            artifact = Artifact.parse(content)
        except ArtifactError as error:
            assert str(error).isprintable() and len(str(error)) < 800
        else:
            assert artifact.describe() == content


def test_a_field_that_is_missing_or_not_known_is_refused() -> None:
    free = {("needs",), ("provenance", "versions")}  # objects of any names
    for path in [(), *places(DESCRIPTION)]:
        found = at(DESCRIPTION, path)
        if not isinstance(found, dict) or path in free:
            continue
        for key in found:
            content = copy.deepcopy(DESCRIPTION)
            del at(content, path)[key]
            if key in ("validation_accuracy", "validation_reference_accuracy"):
                # Descriptions of earlier versions lack them.
                assert getattr(Artifact.parse(content).verified[0], key) is None
                continue
            assert key in refusal(Artifact.parse, content)
        content = copy.deepcopy(DESCRIPTION)
        at(content, path)["extra"] = 1
        assert "extra" in refusal(Artifact.parse, content)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema", "version"), 1),
        (("file",), "../digits.tflite"),
        (("file",), "/etc/passwd"),
        (("file",), "C:\\digits.tflite"),
        (("file",), ".."),
        (("sha256",), "A" * 64),
        (("classes",), 5),
        (("classes",), 1),
        (("threshold",), 0.5),
        (("labels",), ["one", "two"]),
        (("outputs",), []),
        (("outputs",), DESCRIPTION["outputs"] * 2),
        (("inputs",), DESCRIPTION["inputs"][:1] * 2),
        (("preprocessing",), DESCRIPTION["preprocessing"][:1]),
        (("inputs", 0, "scale"), None),
        (("inputs", 0, "scale"), 0),
        (("inputs", 0, "dtype"), "object"),
        (("tensors", 0, "zeros"), 12 * 64 + 1),
        (("verified", 0, "accuracy"), 1.01),
        (("verified", 0, "difference"), float("inf")),
        (("verified", 0, "batch"), 0),
        (("provenance", "sparsity"), -0.1),
        (("needs", "DENSIFY"), "1"),
    ],
)
def test_fields_out_of_range_or_at_odds_are_refused(path, value) -> None:
    refusal(Artifact.parse, changed(path, value))


def test_a_binary_classifier_has_a_threshold_and_one_score() -> None:
    content = changed(("outputs", 0, "shape"), [None, 1])
    content |= {"classes": 2, "threshold": 0.5, "labels": None}

    assert Artifact.parse(content).threshold == 0.5
    refusal(Artifact.parse, content | {"threshold": None})


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema": NaN}',
        b"[" * 100_000,
        b'{"format": "onnx",' + json.dumps(DESCRIPTION).encode()[1:],
        json.dumps(DESCRIPTION).encode()[:-1],
        b" " * (16 * 2**20) + json.dumps(DESCRIPTION).encode(),
    ],
    ids=["empty", "list", "null", "bytes", "nan", "deep", "twice", "truncated", "large"],
)
def test_a_text_that_is_no_description_is_refused(files, text) -> None:
    files.with_name("digits.tflite.json").write_bytes(text)

    refusal(read_artifact, files)


@pytest.fixture
def vectors() -> CheckVectors:
    generator = np.random.default_rng(1)
    inputs = {
        "serving_default_x:0": generator.random((3, 2, 2)).astype(np.float32),
        "nested/tokens": np.arange(12, dtype=np.int32).reshape(3, 4),
    }
    return CheckVectors(inputs, generator.random((3, 5), np.float32), 1e-3)


def test_vectors_come_back_and_the_same_vectors_are_the_same_bytes(vectors, tmp_path) -> None:
    content = vectors.to_bytes()
    path = tmp_path / "digits.tflite.check.npz"
    path.write_bytes(content)
    found = CheckVectors.read(path)
    backwards = CheckVectors(dict(reversed(list(found.inputs.items()))), found.outputs, 1e-3)

    assert found.tolerance == 1e-3
    assert found.inputs.keys() == vectors.inputs.keys()
    for name, array in vectors.inputs.items():
        assert found.inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(found.inputs[name], array)
    assert backwards.to_bytes() == content
    with np.load(path, allow_pickle=False) as stock:
        np.testing.assert_array_equal(stock["outputs"], vectors.outputs)


def test_outputs_are_held_against_the_expected_ones(vectors) -> None:
    near, far = vectors.outputs + 5e-4, vectors.outputs.copy()
    far[1, 1] += 0.5

    assert vectors.compare(near).passed
    assert vectors.compare(near).difference == pytest.approx(5e-4, rel=1e-3)
    assert not vectors.compare(far).passed
    assert vectors.compare(far).difference == pytest.approx(0.5)
    for wrong in (np.full_like(far, np.nan), vectors.outputs[:2], vectors.outputs[:, :1]):
        assert vectors.compare(wrong).describe() == {
            "passed": False,
            "examples": 3,
            "difference": None,
            "tolerance": 1e-3,
        }


def test_vectors_that_prove_nothing_are_neither_written_nor_read(vectors, tmp_path) -> None:
    inputs, outputs = vectors.inputs, vectors.outputs
    wrong = [
        CheckVectors({}, outputs, 0.1),
        CheckVectors(inputs, outputs[:2], 0.1),
        CheckVectors(inputs, outputs[:, 0], 0.1),
        CheckVectors(inputs, outputs.astype(int), 0.1),
        CheckVectors(inputs, outputs, float("nan")),
        CheckVectors(inputs, outputs, -1.0),
        CheckVectors(inputs, outputs * np.inf, 0.1),
        CheckVectors({name: array[:0] for name, array in inputs.items()}, outputs[:0], 0.1),
    ]
    path = tmp_path / "x.check.npz"
    for number, one in enumerate(wrong):
        refusal(one.to_bytes)
        arrays = {f"inputs/{name}": array for name, array in one.inputs.items()}
        arrays |= {"outputs": one.outputs, "tolerance": np.array(one.tolerance)}
        np.savez(path, **arrays)
        refusal(CheckVectors.read, path)
        if not number:
            np.savez(path, outputs=outputs)
            refusal(CheckVectors.read, path)


def test_a_damaged_file_of_vectors_is_refused_or_says_the_same(vectors, tmp_path) -> None:
    content, path = vectors.to_bytes(), tmp_path / "x.check.npz"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        refusal(CheckVectors.read, path)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            found = CheckVectors.read(path)
        except ArtifactError as error:
            assert str(error).isprintable()
        else:
            assert found.to_bytes() == content


def test_arrays_of_every_layout_come_back(tmp_path) -> None:
    arrays = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(4, dtype=">i4"),
        "strided": np.arange(10)[::3],
        "scalar": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), bool),
        "file": np.arange(2, dtype=np.uint8),
    }
    path = tmp_path / "arrays.npz"
    with open(path, "wb") as file:
        write_arrays(file, arrays)
    found = read_arrays(path, 10_000)

    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].flags.c_contiguous and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)


def hostile_archives() -> Iterator[tuple[str, bytes]]:
    def npz(members, compression=zipfile.ZIP_STORED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return stream.getvalue()

    def npy(array=None, header="", **options):
        stream = io.BytesIO()
        if array is not None:
            np.lib.format.write_array(stream, array, **options)
            return stream.getvalue()
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()

    good = npy(np.zeros(3))
    large = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    yield "no zip", b"PK" + bytes(100)
    yield "a bomb", npz([("a.npy", npy(np.zeros(10**6)))], zipfile.ZIP_DEFLATED)
    yield "objects", npz([("a.npy", npy(np.array([print]), allow_pickle=True))])
    yield "records", npz([("a.npy", npy(np.zeros(2, [("x", "f4")])))])
    yield "text", npz([("a.npy", npy(np.array(["a"])))])
    yield "large", npz([("a.npy", npy(header=large))])
    yield "a program", npz([("a.npy", npy(header="__import__('os').system('true')"))])
    yield "deep", npz([("a.npy", npy(header="(" * 9000))])
    yield "negative", npz([("a.npy", npy(header=large.replace("1000000000000", "-1")))])
    yield "another member", npz([("a.npy", good), ("a.txt", b"")])
    yield "a strange name", npz([("a\x1b.npy", good)])
    yield "many", npz([(f"{number}.npy", good) for number in range(300)])


@pytest.mark.parametrize("content", [pytest.param(c, id=i) for i, c in hostile_archives()])
def test_hostile_arrays_are_refused(tmp_path, content) -> None:
    path = tmp_path / "arrays.npz"
    path.write_bytes(content)

    refusal(read_arrays, path, 2**20)


def test_what_is_no_file_or_too_large_is_refused(tmp_path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(101))

    refusal(read_arrays, tmp_path / "fifo", 100)
    refusal(read_arrays, tmp_path, 100)
    refusal(read_arrays, tmp_path / "missing", 100)
    assert "101" in refusal(read_arrays, tmp_path / "large", 100)


def test_several_outputs_need_names_and_scores() -> None:
    other = {**DESCRIPTION["outputs"][0], "name": "boxes", "shape": [None, 4, 7]}

    both = Artifact.parse(changed(("outputs",), [other, *DESCRIPTION["outputs"]]))

    assert both.outputs[0].name == "boxes"
    refusal(Artifact.parse, changed(("outputs",), [other]))


def test_several_outputs_are_checked_by_their_own_scales(vectors) -> None:
    factors = np.array([1, 1, 1, 1, 1e-3], np.float32)
    scaled = CheckVectors(vectors.inputs, vectors.outputs, 1e-3, factors)
    raw = vectors.outputs / factors

    again = CheckVectors.parse(scaled.to_bytes(), "memory")

    assert again.compare(raw + np.array([0, 0, 0, 0, 0.5])).passed
    assert not again.compare(raw + np.array([0.5, 0, 0, 0, 0])).passed
    for broken in (factors[:4], factors * 0, factors.astype(int)):
        refusal(CheckVectors(vectors.inputs, vectors.outputs, 1e-3, broken).to_bytes)


CODE = {"target": "cortex-m4", "sources": {"net.c": "0" * 64, "net.h": "1" * 64}}


def test_a_description_of_c_code_names_its_sources_and_an_old_one_does_not() -> None:
    content = DESCRIPTION | {"format": "c", "file": "net.so", "code": CODE}

    assert json.dumps(Artifact.parse(content).describe()) == json.dumps(content)
    old = {key: value for key, value in content.items() if key != "code"}
    assert Artifact.parse(old).code is None
    assert Artifact.parse(old).describe() == old


@pytest.mark.parametrize(
    "code",
    [
        [],
        {},
        CODE | {"target": ""},
        CODE | {"sources": {"net.c": "A" * 64}},
        CODE | {"sources": ["net.c"]},
        CODE | {"extra": 1},
    ],
)
def test_sources_of_another_form_are_refused(code: Any) -> None:
    refusal(Artifact.parse, DESCRIPTION | {"format": "c", "file": "net.so", "code": code})


def test_only_c_code_has_sources() -> None:
    refusal(Artifact.parse, DESCRIPTION | {"code": CODE})
