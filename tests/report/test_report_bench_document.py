"""The bench document: its schema, the light check, and what is read from it."""

from __future__ import annotations

import json
import time

import pytest
from bench_documents import bench_document

from compressor.errors import CheckpointError
from compressor.report.bench_section import bench_blocks, bench_conditions
from compressor.report.bench_terminal import table_text as bench_text
from compressor.report.markdown import blocks_markdown
from compressor.report.trade_offs import bytes_figure, latency_figures, pareto_front
from compressor.runs.bench_document import (
    bench_schema,
    check_bench,
    fastest,
    is_sound,
    newest_run,
    read_bench,
    rows_with,
    settings_of,
)


def test_the_document_fits_the_schema_and_the_check():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(bench_schema())
    jsonschema.Draft202012Validator(bench_schema()).validate(bench_document())
    check_bench(bench_document())


def test_what_came_out_slower_than_the_first_is_named_so():
    bench = bench_document()
    run = bench["runs"][0]
    rows = rows_with(run, settings_of(run["rows"])[0])
    for row in rows:
        row["ratio"] = {"value": 1.0, "low": 0.98, "high": 1.02}
    rows[1]["ratio"] = {"value": 1.13, "low": 1.12, "high": 1.14}

    table = bench_text(run, rows)
    page = blocks_markdown(bench_blocks(run))

    name = run["artefacts"][rows[1]["artefact"]]["name"]
    for text in (table, page):
        slower = [line for line in text.splitlines() if "right, slower" in line]
        assert slower and all(name in line for line in slower)


def test_every_key_of_the_schema_is_described():
    rules = bench_schema()

    def walk(rule, path):
        for key, inner in rule.get("properties", {}).items():
            target = rules["$defs"][inner["$ref"].rpartition("/")[2]] if "$ref" in inner else inner
            assert "description" in target, f"{path}.{key}"
            walk(inner, f"{path}.{key}")

    walk(rules, "bench")
    for name, definition in rules["$defs"].items():
        walk(definition, name)


def change(*path, value=None, drop=False):
    def apply(bench):
        inner = bench
        for key in path[:-1]:
            inner = inner[key]
        if drop:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value

    return apply


ROW = ("runs", 0, "rows", 0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change("schema", value="compressor.results"), "not a bench document"),
        (change("schema_version", value=2), "another version: 2"),
        (change(*ROW, "status", drop=True), r"runs\[0\].rows\[0\],.*; 'status' is a required"),
        (
            change(*ROW, "status", value="great"),
            r"status, .*'great' is not one of \['right', 'unproven', 'wrong', 'failed'\]",
        ),
        (change(*ROW, "runtime", value="abacus"), r"'abacus' is not one of \['litert'"),
        (change(*ROW, "artefact", value=99), r"no such artefact: bench.runs\[0\].rows\[0\]"),
        (change(*ROW, "artefact", value=-1), "-1 is less than the minimum of 0"),
        (change(*ROW, "latency_ms", "p50", "value", value=float("nan")), "damaged: .*; nan is not"),
        (
            change(*ROW, "latency_ms", "p50", "value", value=0),
            "0 is less than the minimum of 1e-09",
        ),
        (change(*ROW, "threads", value=True), "True is not of type 'integer'"),
        (change(*ROW, "threads", value=10**400), "damaged: .*threads, .*; 10000.*0000 is not of"),
        (change(*ROW, "accuracy", value=98.9), "98.9 is greater than the maximum of 1"),
        (change("runs", 0, "artefacts", 0, "sha256", value="../x"), "'../x' does not match"),
        (change("runs", 0, "artefacts", 1, "name", value="dense-float32.tflite"), "one name"),
        (change("runs", 0, "machine", "load_average", value=[1.0]), r"\[1.0\] is too short"),
        (change("runs", value={}), "{} is not of type 'array'"),
        (change("runs", value=["x" * 10**6] * 10), r"runs\[0\], .*; 'xxx.*xxx' is not of type 'ob"),
        (change("runs", value={"x": "y" * 10**6}), "'x': 'yyy.*' ?} is not of type 'array'"),
    ],
)
def test_a_damaged_document_is_one_line_that_names_the_file(damage, message, tmp_path):
    bench = bench_document()
    damage(bench)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench))
    with pytest.raises(CheckpointError, match=message) as caught:
        read_bench(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert str(path) in str(caught.value)


def test_a_document_of_another_version_is_not_looked_at_further():
    with pytest.raises(CheckpointError, match="another version: 2"):
        check_bench({"schema": "compressor.bench", "schema_version": 2, "runs": "none"})


@pytest.mark.parametrize("levels", [500, 900, 100_000])
def test_a_document_nested_deeply_is_one_line(levels, tmp_path):
    path = tmp_path / "bench.json"
    nested = "[" * levels + "]" * levels
    path.write_text(f'{{"schema": "compressor.bench", "schema_version": 1, "runs": [{nested}]}}')
    with pytest.raises(CheckpointError, match=r"is damaged: bench|cannot read the JSON") as caught:
        read_bench(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_first_of_many_errors_ends_the_check():
    bench = bench_document()
    bench["runs"] *= 500_000
    bench["runs"].insert(0, {})
    began = time.monotonic()
    with pytest.raises(CheckpointError, match="is a required property"):
        check_bench(bench)
    assert time.monotonic() - began < 10


def test_keys_of_a_later_program_and_rows_that_lack_what_was_not_measured_are_fine():
    bench = bench_document()
    bench["runs"][0]["rows"][0] = {
        **{"artefact": 0, "runtime": "litert", "threads": 1, "batch": 1, "transfer": "copies"},
        **{"status": "failed", "reason": "it crashed", "colour": "blue"},
    }
    check_bench(bench)
    assert "it crashed" in blocks_markdown(bench_blocks(bench["runs"][0]))
    assert bench_conditions(bench["runs"][0]).rows


def test_the_newest_run_that_measured_something_is_shown():
    bench = bench_document()
    bench["runs"] += [bench_document(id="newer")["runs"][0], bench_document(rows=[])["runs"][0]]
    assert newest_run(bench)["id"] == "newer"
    assert newest_run({"runs": []}) is None


def test_a_wrong_row_is_not_the_fastest_however_fast():
    run = bench_document()["runs"][0]
    for row in run["rows"]:
        if row["status"] == "wrong":
            row["latency_ms"]["p50"]["value"] = 1e-6
    found = fastest(run)
    assert is_sound(found)
    assert (found["threads"], found["batch"]) == (1, 1)
    assert run["artefacts"][found["artefact"]]["name"] == "pruned98-int8.tflite"
    first, *_ = bench_blocks(run)
    assert "14 right, 2 unproven, 1 wrong, 1 failed" in first.words
    for figure in (bytes_figure(run, None, ()), *latency_figures(run)):
        assert "tflite-runtime" not in figure.caption.partition("WRONG")[0]


def test_of_many_settings_the_ends_are_drawn_and_every_one_has_its_table():
    settings = [(threads, batch) for threads in (1, 2) for batch in (1, 8, 32, 128)]
    run = bench_document(settings)["runs"][0]
    assert settings_of(run["rows"]) == settings
    assert [figure.name for figure in latency_figures(run)] == [
        f"accuracy_latency_{threads}_{batch}" for threads in (1, 2) for batch in (1, 128)
    ]
    text = blocks_markdown(bench_blocks(run))
    assert text.count("| dense-float32.onnx |") == len(settings) + 1  # and once as unproven


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([(1, 0.9), (2, 0.95), (3, 0.93), (3, 0.99)], [0, 1, 3]),
        ([(2, 0.9), (1, 0.9), (1, 0.9)], [1]),
        ([(1, 0.5), (1, 0.7)], [1]),
    ],
)
def test_the_pareto_front(points, expected):
    assert pareto_front(points) == expected


def test_conditions_say_what_a_sceptic_asks():
    rows = dict(bench_conditions(bench_document()["runs"][0]).rows)
    assert rows["machine"] == "Imaginary CPU @ 2.00 GHz, 2 cores, 8.0 GiB, Linux 6.1"
    assert rows["governor"] == "cannot be read"
    assert rows["load average"] == "0.25 at the start, 1.50 at the end"
    assert rows["pinned to CPUs"] == "0; 0, 1"
    assert "numpy 1.26.4" in rows["Python and numpy"]
    assert "tflite-runtime 2.14.0" in rows["runtimes"]
    assert "XNNPACK (5 of 9 nodes)" in rows["providers and delegates"]
    assert rows["warming up"] == "60 runs; 17 of 17 rows settled"


def test_the_arena_of_a_microcontroller_is_shown_beside_the_latency() -> None:
    run = bench_document()["runs"][0]
    rows = rows_with(run, settings_of(run["rows"])[0])
    for row in rows:
        row["ratio"] = row["throughput"] = None
    assert "arena" not in bench_text(run, rows)
    rows[0] |= {"runtime": "tflite-micro", "arena_bytes": 10_400}
    check_bench(bench_document(rows=rows))
    text = bench_text(run, rows)
    assert "arena" in text and "10,400" in text
