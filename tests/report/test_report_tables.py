"""The tables: every number is there, formatted, with the paper's beside it."""

from __future__ import annotations

import csv
import io

import pytest

from compressor.experiment.statistics import hypothesis
from compressor.report import summary_text
from compressor.report.answer import hypothesis_text
from compressor.report.markdown import blocks_markdown, report_markdown
from compressor.report.run_contents import RunContents
from compressor.report.sections import build_report
from compressor.report.sensitivity import sensitivity_csv
from compressor.report.tables import encoding_tables, proportion_tables, summary_table
from compressor.report.writing import results_csv


def markdown(blocks):
    """Blocks of the report as report.md shows them."""
    return blocks_markdown(blocks if isinstance(blocks, list) else [blocks])


def cells(markdown, start):
    """The cells of the first table line whose first cell starts with `start`."""
    for line in markdown.splitlines():
        found = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and found[0].startswith(start):
            return found
    raise AssertionError(f"no row {start!r} in\n{markdown}")


def test_proportion_tables_are_the_papers_with_its_numbers_beside(results):
    text = markdown(proportion_tables(results))
    titles = [line for line in text.splitlines() if line.startswith("### ")]
    assert titles[0] == "### 10 % pruned (the paper's Table 4)"
    assert titles[-1] == "### 90 % pruned (the paper's Table 9)"
    last = text[text.index(titles[-1]) :]
    assert cells(last, "threshold of fc1")[1:] == ["–", "0.144000", "–", "0.148148"]
    assert cells(last, "weights of fc1")[1:] == ["3,211,264", "321,126"] * 2
    assert cells(last, "weights of fc2")[1:] == ["10,240", "1,023"] * 2
    assert cells(last, "model size")[1:] == ["37.48", "7.58", "37.5", "7.6"]
    assert cells(last, "accuracy")[1:3] == ["98.90", "98.90"]
    time = cells(last, "prediction time, 10 batches of 32")
    assert time[1:3] == ["61.25", "83.71"]
    assert time[3:] == ["–", "slightly decreases"]


def test_another_experiment_has_no_numbers_of_the_paper(results_of):
    text = markdown(proportion_tables(results_of(sparsities=(0.2, 0.95))))
    assert "### 20 % pruned\n" in text
    assert "paper" not in text


def test_with_all_layers_pruned_only_thresholds_and_counts_compare(results_of):
    every = results_of(layers=("conv1", "conv2", "fc1", "fc2"))
    text = markdown(proportion_tables(every))
    first = text[: text.index("### 30 %")]
    assert cells(first, "weights of conv2")[3:] == ["–", "–"]
    assert cells(first, "weights of fc1")[4] == "2,890,137"
    assert cells(first, "model size")[3:] == ["–", "–"]
    assert "66.5 " not in markdown(summary_table(every))


def test_several_seeds_show_mean_and_range_and_say_so(results_of):
    text = markdown(proportion_tables(results_of(seeds=3)))
    assert cells(text, "threshold of fc1")[2] == "0.0164000 (0.0160000 to 0.0168000)"
    assert cells(text, "weights of fc1")[2] == "2,890,137"
    assert text.count("Mean over 3 seeds, with the range") == 6


def test_summary_has_a_row_a_proportion_after_the_dense_model(results):
    table = markdown(summary_table(results))
    assert len(summary_table(results).rows) == 1 + 6
    assert cells(table, "dense")[1:6] == ["3,221,504", "37.48", "–", "37.5", "98.90"]
    row = cells(table, "90 %")
    assert row[1:5] == ["322,149", "37.48", "7.58", "7.6"]
    assert row[5:9] == ["98.90", "76.84", "98.90", "98.90"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_summary_text_fits_a_terminal(results_of, seeds):
    text = summary_text(results_of(seeds=seeds))
    assert max(map(len, text.splitlines())) <= 100
    assert all(number in text for number in ("322,149", "7.58", "37.5", "76.84"))
    assert ("  least" in text) == (seeds > 1)
    assert not any(line.endswith(" ") for line in text.splitlines())


def test_encodings_show_bytes_and_both_break_even_points(results):
    text = markdown(encoding_tables(results))
    sizes = results["proportions"][5]["encodings"]
    assert cells(text, "90 %")[1:] == [f"{size:,}" for size in sizes.values()]
    assert "entropy (bound)" in text
    assert cells(text, "coo-paper")[2:] == ["50 %", "50 %", "83.33 %", "–"]
    assert "| dense | the dense encoding | – | – | – | – |" in text
    assert "39,295,608 bytes" in text
    assert "13,098,536 bytes" in text


def test_the_answer_follows_the_numbers(results):
    text = hypothesis_text(results)
    assert "rho = −1.000, p = 0.0028" in text
    assert "the larger the proportion, the smaller the file" in text
    assert "from 66.56 MiB at 10 % to 7.58 MiB at 90 %" in text
    assert "from 50 % on smaller than the dense checkpoint (37.48 MiB)" in text
    assert "from 90 % on smaller than the float32 weights alone (12.49 MiB)" in text
    assert text.count("No significant relation") == 2


def altered(results, change):
    for row in results["proportions"]:
        change(row)
    results["hypothesis"] = hypothesis(results["proportions"])
    return hypothesis_text(results)


def test_the_answer_contradicts_the_paper_where_the_numbers_do(results):
    def change(row):
        row["sparse"]["bytes"] = int(1e8 * row["sparsity"])
        row["sparse"]["accuracy"] = 0.99 - 0.1 * row["sparsity"]
        row["sparse"]["prediction_time"]["total_ms"]["p50"] = 80 + row["sparsity"]

    size, accuracy, time = altered(results, change).split("\n\n")[:3]
    assert "the larger the file. **This contradicts the paper.**" in size
    assert "at 10 %, 30 % only smaller than the dense checkpoint" in size
    assert "a negative one" in accuracy
    assert "8.00 percentage points" in accuracy
    assert "It rises" in time
    assert "contradicts the paper" in time


def test_the_answer_says_when_there_is_none(results_of, results):
    few = hypothesis_text(results_of(sparsities=(0.5, 0.9)))
    assert few.count("rho cannot be computed: 2 rows are too few") == 3
    assert "Method" not in few
    four = hypothesis_text(results_of(sparsities=(0.3, 0.5, 0.7, 0.9)))
    assert four.count("too few rows for a verdict**: even a perfect order has p = 0.0833") == 3
    assert "agrees" not in four
    same = altered(results, lambda row: row["sparse"].update(accuracy=0.99))
    assert "all values are equal" in same


def test_csv_parses_back_to_every_row(results_of):
    results = results_of(seeds=2)
    rows = list(csv.DictReader(io.StringIO(results_csv(results))))
    assert len(rows) == 12
    by_key = {(int(row["seed"]), float(row["sparsity"])): row for row in rows}
    for expected in results["proportions"]:
        row = by_key[expected["seed"], expected["sparsity"]]
        assert int(row["sparse_bytes"]) == expected["sparse"]["bytes"]
        assert float(row["sparse_accuracy"]) == expected["sparse"]["accuracy"]
        assert float(row["pruned_accuracy"]) == expected["pruned"]["accuracy"]
        assert float(row["fc1_threshold"]) == expected["layers"][0]["threshold"]
        assert int(row["kept"]) == sum(layer["kept"] for layer in expected["layers"])
        for name, size in expected["encodings"].items():
            assert int(row[f"encoding_{name}_bytes"]) == size
        time = expected["sparse"]["prediction_time"]
        assert float(row["sparse_prediction_time_total_p50_ms"]) == time["total_ms"]["p50"]


def test_the_page_is_complete(results):
    page = report_markdown(build_report(RunContents("run", results)))
    for heading in ("Summary", "The hypothesis", "Figures", "Encodings", "Conditions"):
        assert f"\n## {heading}\n" in page
    assert "](figures/figure_5_size.png)" in page
    assert "Imaginary \\| CPU @ 2.00 GHz, 2 cores, 8.0 GiB, Linux 6.1" in page
    assert "tensorflow 2.21.0" in page
    assert "10 batches of 32, 50 rounds" in page
    assert "| retraining at 10 %, 30 %, 50 %, 70 %, 80 %, 90 % | 500 steps" in page
    assert "nan" not in page.lower().split()


ODD = "odd\x1b[2J\n9\u202e"


@pytest.mark.parametrize(
    ("name", "shown"), [(ODD, r"odd\x1b[2J\n9\u202e"), ("=1+1", "'=1+1"), ("@x\n", r"'@x\n")]
)
def test_names_in_a_csv_are_lines_that_can_be_seen_and_no_formulas(results_of, name, shown):
    results = results_of()
    for row in results["proportions"]:
        row["layers"][0]["layer"] = name
    measured = {"target_sparsity": 0.5, "sparsity": 0.5, "accuracy": 0.5}
    layer = {"layer": name, "layers": [name], "parameters": 9, "measurements": [measured]}
    described = {"layers": [layer], "dense_accuracy": 0.5, "examples": 8}

    header, *rows = csv.reader(io.StringIO(results_csv(results)))
    (line,) = list(csv.DictReader(io.StringIO(sensitivity_csv(described))))

    assert f"{shown}_kept" in header
    assert all(cell.isprintable() for row in (header, *rows) for cell in row)
    assert line["layer"] == line["layers"] == shown
