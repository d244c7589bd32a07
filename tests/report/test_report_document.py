"""The results document: its schema, the light check, and the report as files."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest

from compressor.errors import CheckpointError
from compressor.report.writing import write_report
from compressor.runs.results_document import check_results as check, results_schema as schema


@pytest.mark.parametrize("options", [{}, {"seeds": 3}, {"sparsities": (0.5, 0.9)}])
def test_the_document_fits_the_schema(results_of, options):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.Draft202012Validator(schema()).validate(results_of(**options))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("dense", 0, "accuracy"), 98.9),
        (("experiment", "data", "digest"), "abc"),
        (("proportions", 0, "sparse", "surplus"), 1),
        (("experiment", "training", "learning_rate_schedule"), "step"),
    ],
)
def test_the_schema_refuses(results, path, value):
    jsonschema = pytest.importorskip("jsonschema")
    inner = results
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema()).validate(results)


def test_every_key_of_the_schema_is_described():
    rules = schema()

    def described(rule):
        if "$ref" in rule:
            target = rules["$defs"][rule["$ref"].rpartition("/")[2]]
            return "description" in rule or "description" in target
        return "description" in rule

    def walk(rule, path):
        for key, inner in rule.get("properties", {}).items():
            assert described(inner), f"{path}.{key}"
            walk(inner, f"{path}.{key}")
        for inner in (rule.get("items"), rule.get("additionalProperties")):
            if isinstance(inner, dict):
                walk(inner, path)

    walk(rules, "results")
    for name, definition in rules["$defs"].items():
        walk(definition, name)


def remove(*path):
    def change(results):
        for key in path[:-1]:
            results = results[key]
        del results[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("schema"), "not a results document"),
        (lambda r: r.update(schema_version=2), "another version: 2"),
        (remove("encodings"), "damaged: results; 'encodings' is a required"),
        (remove("proportions", 3, "sparse", "bytes"), r"proportions\[3\].sparse; 'bytes' is a req"),
        (lambda r: r.update(dense=[]), r"damaged: results.dense; \[\] should be non-empty"),
        (lambda r: r["dense"][0].update(seed=7), "no dense model of seed: 0"),
        (lambda r: r["hypothesis"]["size"].update(p_value=None), "p_value; None is not of type"),
        (
            lambda r: r["dense"][0].update(accuracy=float("nan")),
            "damaged: .*; nan is not of type 'number'",
        ),
        (lambda r: r["proportions"][0].update(layers="fc1"), "'fc1' is not of type 'array'"),
        (lambda r: r["dense"][0].update(accuracy=98.9), "accuracy; 98.9 is greater than the max"),
        (
            lambda r: r["dense"][0].update(weights_bytes=10**400),
            "damaged: results.dense.0..weights",
        ),
        (
            lambda r: r["experiment"]["retraining"].update({"..e-1": {}}),
            "retraining; '..e-1' does not match",
        ),
        (
            lambda r: r["experiment"]["data"].update(name="\ud800"),
            r"data.name; '.ud800' is not of type",
        ),
        (
            lambda r: r["environment"]["versions"].update({"\ud800": "1"}),
            "versions; '.ud800' is not",
        ),
        (
            lambda r: r["environment"]["versions"].update({"k" * 10**6: 1}),
            "versions.kkk.*; 1 is not",
        ),
        (
            lambda r: r["proportions"][2]["layers"].reverse(),
            "different layers in different rows: 0.5",
        ),
    ],
)
def test_a_damaged_document_is_one_line(results, change, message):
    damaged = copy.deepcopy(results)
    change(damaged)
    with pytest.raises(CheckpointError, match=message) as caught:
        check(damaged)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_keys_of_a_later_program_are_fine(results):
    results["colour"] = results["dense"][0]["colour"] = "blue"
    check(results)


@pytest.mark.slow
def test_write_report_writes_a_page_whose_links_lead_somewhere(results_of, tmp_path):
    # One proportion of all layers, and through JSON, as a report is made of a stored file.
    made = results_of(sparsities=(0.5,), layers=("conv1", "conv2", "fc1", "fc2"))
    results = json.loads(json.dumps(made, allow_nan=False))
    written_report = write_report(results, tmp_path / "run")
    assert written_report.page == tmp_path / "run" / "report.html"
    assert written_report.markdown == tmp_path / "run" / "report.md"
    written = sorted(str(p.relative_to(tmp_path / "run")) for p in tmp_path.rglob("*.*"))
    assert len(written) == 11
    text = written_report.markdown.read_text()
    for name in written:
        if name.startswith("figures/"):
            assert f"({name})" in text


def test_importing_the_report_is_cheap():
    code = (
        "import sys, compressor.report; heavy = {'matplotlib', 'scipy', 'numpy', 'jinja2'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
