"""The tables of operators: as measured, which a sample of each is measured again for."""

from __future__ import annotations

import itertools
import json
import shutil

import pytest

from benchmarks.operators import builtin_operators, measure
from compressor import runtimes
from deploy import operator_table
from deploy.errors import ArtifactError
from deploy.operator_table import TABLES, find_table, read_table

SAMPLE = [
    *("ADD", "BATCH_MATMUL", "CONV_2D", "DENSIFY", "DEQUANTIZE", "FULLY_CONNECTED", "GELU"),
    *("RESHAPE", "STABLEHLO_ADD", "STABLEHLO_COMPOSITE", "UNPACK"),
]


@pytest.mark.parametrize("path", sorted(TABLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_table_is_whole(path):
    table = read_table(path)

    assert table.describe() == json.loads(path.read_text())
    if table.runtime == "onnxruntime":
        assert set(table.operators) == {"ai.onnx", "ai.onnx.ml"}
        # Of the releases since 1.17, by which the oldest table is.
        assert 20 <= table.operators["ai.onnx"] <= 30
    else:
        micro = table.runtime == "tflite-micro"
        assert len(table.operators) > (100 if micro else 140)
        own = {"TFLM_DECODE"} if micro else set()
        assert set(table.operators) - own <= set(builtin_operators())


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime"])
def test_a_runtime_loads_what_its_table_says_and_nothing_above(runtime):
    if runtimes.state(runtime).version is None:
        pytest.skip(f"{runtime} {runtimes.state(runtime).reason}")
    found = measure(runtime, runtimes.python_of(runtime), SAMPLE)
    table = find_table(runtime, found.version)

    assert table is not None
    assert table.version == found.version
    assert found.operators == {
        name: table.operators[name] for name in SAMPLE if name in table.operators
    }
    assert found.operators["CONV_2D"] > 1


def test_onnxruntime_takes_the_operator_sets_that_its_table_says():
    found = measure("onnxruntime", runtimes.python_of("onnxruntime"))

    assert found == find_table("onnxruntime", found.version)


@pytest.mark.parametrize("runtime", ["litert", "onnxruntime"])
def test_later_versions_keep_what_earlier_ones_had(runtime):
    tables = [read_table(path) for path in TABLES.glob(f"{runtime}-*.json")]
    tables.sort(key=lambda table: [int(part) for part in table.version.split(".")])

    assert len(tables) > 2
    for earlier, later in itertools.pairwise(tables):
        lost = {
            name: version
            for name, version in earlier.operators.items()
            if later.operators.get(name, 0) < version
        }
        assert lost == {}, later.version


def test_a_version_without_a_table_is_judged_by_the_newest_before_it():
    def version(runtime: str, asked: str) -> str | None:
        table = find_table(runtime, asked)
        return None if table is None else table.version

    assert version("onnxruntime", "1.31.0") == "1.30.0"
    assert version("cuda", "1.23.2") == "1.23.0"
    assert version("onnxruntime-web", "1.30.0") == "1.30.0"
    assert version("onnxruntime", "1.9.0") is None
    assert version("tflite-runtime", "2.13.0") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.update(runtime="caffe"), "not one of"),
        (lambda table: table["schema"].update(version=2), "schema.version"),
        (lambda table: table["operators"].update(ADD=0), "ADD"),
        (lambda table: table["operators"].update(ADD=True), "ADD"),
        (lambda table: table.update(more=1), "an unknown field: more"),
        (lambda table: table.pop("measured"), "missing"),
        (lambda table: table.update(version="2.2.0"), "does not match its file name"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, change, said):
    path = tmp_path / "litert-2.3.0.json"
    table = json.loads((TABLES / path.name).read_text())
    change(table)
    path.write_text(json.dumps(table))

    with pytest.raises(ArtifactError, match=said):
        read_table(path)


def test_a_damaged_table_is_said_and_not_passed_over(tmp_path, monkeypatch):
    shutil.copytree(TABLES, tmp_path / "tables")
    (tmp_path / "tables" / "litert-2.3.0.json").write_text("{")
    monkeypatch.setattr(operator_table, "TABLES", tmp_path / "tables")
    find_table.cache_clear()
    try:
        with pytest.raises(ArtifactError, match=r"litert-2\.3\.0"):
            find_table("litert", "2.3.0")
    finally:
        find_table.cache_clear()
