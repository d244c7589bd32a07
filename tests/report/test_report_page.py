"""The page in a browser: whole, drawn, readable, usable on a telephone, and not to be fooled."""

from __future__ import annotations

import copy
import json
import re
from html.parser import HTMLParser

import pytest
from bench_documents import bench_document
from browser import OpenPage, chromium
from results_documents import make_results

from compressor.report import report_run
from compressor.report.page import report_page
from compressor.report.plotting import draw
from compressor.report.run_contents import RunContents
from compressor.report.sections import build_report

ALWAYS = ["summary", "figures", "hypothesis", "encodings", "proportions", "conditions"]
WITH_BENCH = [
    *("summary", "figures", "hypothesis", "encodings", "artefacts", "trade-offs", "bench"),
    *("proportions", "conditions"),
]


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def run(results, tmp_path):
    """A run directory with the results of a sweep only."""
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path


def exported(results):
    """The results as if every model had been exported."""
    results = copy.deepcopy(results)
    for row in (*results["dense"], *results["proportions"]):
        left = 1 - row.get("sparsity", 0.0)
        row["artefacts"] = [
            {
                "file": f"{shape}.{file_format}",
                "form": shape,
                "format": file_format,
                "runtime": runtime,
                "runtime_version": "2.3.0",
                "quantize": "none" if shape == "float32" else "int8",
                "bytes": int(share * (13_000_000 * left + 90_000)),
                "accuracy": row.get("accuracy", 0.989),
                "validation_accuracy": row.get("validation_accuracy", 0.988),
                "difference": 1e-6,
                "agreement": 1.0,
                "speed": None,
            }
            for file_format, runtime in (("tflite", "litert"), ("onnx", "onnxruntime"))
            for shape, share in (("float32", 1.0), ("smallest", 0.25))
        ]
    return results


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    """A run directory of a sweep with artefacts and a bench, and its report."""
    folder = tmp_path_factory.mktemp("benched")
    (folder / "results.json").write_text(json.dumps(exported(make_results())))
    (folder / "bench.json").write_text(json.dumps(bench_document()))
    report_run(folder)
    return folder


@pytest.mark.sampled(2)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_picture_is_drawn_and_every_word_can_be_read(browser, benched, width, scheme):
    page = benched / "report.html"

    with OpenPage(browser, page, width=width, scheme=scheme) as shown:
        assert shown.complaints == []
        assert shown.outside() == []
        assert shown.evaluate("[...document.querySelectorAll('section')].map(s => s.id)") == (
            WITH_BENCH
        )
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        sizes = shown.evaluate(
            "[...document.querySelectorAll('svg')].map(s => "
            "[s.getBBox().width, s.getBBox().height, s.getBoundingClientRect().width])"
        )
        assert len(sizes) >= 8
        assert all(min(size) > 100 for size in sizes)
        labels = "[...document.querySelectorAll('svg')].map(s => s.getAttribute('aria-label'))"
        assert all(shown.evaluate(labels))
        assert all(
            shown.evaluate("[...document.querySelectorAll('figcaption')].map(c => c.innerText)")
        )
        assert shown.faint_texts() == []
        # On a telephone the letters of a picture are as large as a caption's, or nearly.
        letters = shown.evaluate(
            "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
        )
        assert min(letters) > 7


def test_tables_that_are_wider_than_a_telephone_scroll_in_their_box(browser, benched):
    page = benched / "report.html"

    with OpenPage(browser, page, width=390) as shown:
        boxes = shown.evaluate(
            "[...document.querySelectorAll('.scroll')].map(b => [b.scrollWidth, b.clientWidth, "
            "getComputedStyle(b).overflowX, b.getBoundingClientRect().right])"
        )
    assert any(inner > outer for inner, outer, _, _ in boxes)
    assert all(right <= 390 for *_, right in boxes)
    assert {overflow for _, _, overflow, _ in boxes} == {"auto"}


@pytest.mark.slow
def test_without_a_bench_there_is_no_section_of_it(browser, run):
    page = report_run(run).page

    with OpenPage(browser, page) as shown:
        assert shown.complaints == []
        found = shown.evaluate("[...document.querySelectorAll('section')].map(s => s.id)")
        assert found == ALWAYS
        links = shown.evaluate("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
        assert links == ALWAYS


def test_a_wrong_row_is_marked_red_and_never_the_best(browser, benched):
    page = benched / "report.html"

    with OpenPage(browser, page) as shown:
        wrong = shown.evaluate("[...document.querySelectorAll('tr.wrong')].map(r => r.innerText)")
        failed = shown.evaluate("[...document.querySelectorAll('tr.failed')].map(r => r.innerText)")
        best = shown.evaluate("[...document.querySelectorAll('tr.best')].map(r => r.innerText)")
        red = shown.evaluate("getComputedStyle(document.querySelector('tr.wrong td')).color")
        text = shown.evaluate("document.body.innerText")
    assert all("tflite-runtime" in row and "pruned98-int8.tflite" in row for row in wrong + failed)
    assert any("accuracy 9.80 %, described is 98.92 %" in row for row in wrong)
    assert any("the process was stopped after 120 s" in row for row in failed)
    assert len(best) == 2
    assert all("litert 2.3.0" in row for row in best)
    red, green, blue = map(int, re.findall(r"\d+", red))
    assert red > 2 * max(green, blue)
    captions = [part for part in text.split("\n") if "On the Pareto front" in part]
    assert len(captions) == 3
    for caption in captions:
        front, _, named = caption.partition("WRONG")
        assert "tflite-runtime): 0" not in front
        assert not named or "pruned98-int8.tflite in tflite-runtime (9.80" in named


def test_the_headline_is_the_smallest_file_that_holds(results):
    contents = RunContents("run", exported(results), bench=bench_document())
    report = build_report(contents)

    facts = {fact.name: fact for fact in report.sections[0].blocks[0].facts}
    small = contents.results["proportions"][-1]["artefacts"][1]["bytes"]
    assert facts["dense, in float32"].value == "13.1 MB"
    assert facts["smaller"].value == f"{13_098_536 / small:#.3g}×"
    assert facts["smaller"].note.endswith("90 % pruned, TFLite int8")
    assert facts["faster"].value == "5.56×"
    assert "pruned98-int8.tflite in litert, 1 thread, batch 1" in facts["faster"].note


class _Elements(HTMLParser):
    """The elements of a page and the addresses in them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.addresses.append(value)
            if name.startswith("on"):
                self.handlers.append(name)


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>$\\frac{1}{`[a](b)'


def hostile(results):
    results = exported(results)
    results["experiment"]["data"]["name"] = HOSTILE
    results["experiment"]["layers"][0] = HOSTILE
    results["environment"]["machine"]["cpu"] = HOSTILE
    results["environment"]["versions"][HOSTILE] = HOSTILE
    results["encodings"][0] |= {"name": HOSTILE, "description": HOSTILE + "\n\n# no heading"}
    for row in (*results["dense"], *results["proportions"]):
        for layer in row["layers"]:
            layer["layer"] = HOSTILE + layer["layer"]
        for artefact in row["artefacts"]:
            artefact |= {"file": HOSTILE, "runtime": HOSTILE}
    return results


def hostile_bench():
    bench = bench_document()
    run = bench["runs"][0]
    run["machine"]["cpu"] = run["started"] = HOSTILE
    for artefact in run["artefacts"]:
        artefact["name"] = HOSTILE + artefact["name"]
    for row in run["rows"]:
        row |= {"reason": HOSTILE, "version": HOSTILE, "provider": HOSTILE, "python": HOSTILE}
    return bench


def test_names_from_a_document_are_words_and_nothing_else(browser, results, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(hostile(results)))
    (tmp_path / "bench.json").write_text(json.dumps(hostile_bench()))

    written = report_run(tmp_path)

    elements = _Elements()
    elements.feed(written.page.read_text())
    assert "script" not in elements.names
    assert elements.handlers == []
    assert all(address.startswith(("#", "data:")) for address in elements.addresses)
    with OpenPage(browser, written.page) as shown:
        shown.page.wait_for_timeout(100)
        assert shown.complaints == []
        assert shown.outside() == []
        assert "<script>alert(1)</script>" in shown.evaluate("document.body.innerText")
    markdown = written.markdown.read_text()
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "# no heading" not in markdown.splitlines()


@pytest.mark.slow
def test_the_same_documents_give_the_same_page(benched):
    files = {path: path.read_bytes() for path in benched.rglob("*") if path.is_file()}

    again = report_run(benched)

    assert {path: path.read_bytes() for path in files} == files
    assert again.page.stat().st_size < 3_000_000


@pytest.mark.slow
def test_ids_on_the_page_are_one_of_a_kind(results):
    report = build_report(RunContents("run", results, bench=bench_document()))
    page = report_page(report, draw(report))

    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {f"#{name}" for name in re.findall(r'xlink:href="#([^"]+)"', page)} <= {
        f"#{name}" for name in ids
    }
