"""The report of a real run of a model that is not the paper's, and of what may lie beside it."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from bench_documents import bench_document
from browser import OpenPage, chromium

import compressor
from compressor.errors import CheckpointError, UsageError
from compressor.pruning.masks import load_masks
from compressor.pruning.plan import make_plan
from compressor.pruning.spec import PruningSpec
from compressor.report.networks import KernelValues, read_network
from compressor.report.run_contents import read_run
from compressor.report.sections import build_report
from compressor.report.weight_pictures import mask_pictures


@pytest.fixture(scope="module")
def made(residual_net, tiny_data, artefacts, tmp_path_factory):
    """A run of `prune` on a network with a skip, with artefacts and a bench; not to be written."""
    folder = tmp_path_factory.mktemp("reported")
    residual_net().save(folder / "mine.keras")
    plan = make_plan(tiny_data, sparsities=(0.75,), steps=3, batch_size=16, validation=16)
    compressor.prune_run(folder / "mine.keras", None, PruningSpec(0.75, ("all",)), plan)
    shutil.copytree(artefacts, folder / "mine-pruned" / "found")
    return folder / "mine-pruned"


@pytest.fixture
def run(made, tmp_path):
    """A copy of the run, with the model that it was made from beside it."""
    shutil.copy(made.parent / "mine.keras", tmp_path / "mine.keras")
    shutil.copytree(made, tmp_path / "mine-pruned")
    return tmp_path / "mine-pruned"


@pytest.mark.slow
def test_the_page_of_a_network_with_a_skip(run):
    (run / "bench.json").write_text(json.dumps(bench_document()))

    written = compressor.report_run(run)

    with chromium() as browser, OpenPage(browser, written.page, width=390) as shown:
        assert shown.complaints == []
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
        assert shown.evaluate("[...document.querySelectorAll('section')].map(s => s.id)") == [
            *("summary", "artefacts", "trade-offs", "bench", "weights", "structure", "conditions")
        ]
        images = shown.evaluate(
            "[...document.images].map(i => [i.naturalWidth, i.complete, i.alt.length])"
        )
        assert len(images) >= 3
        assert all(width > 0 and complete and alt > 20 for width, complete, alt in images)
        drawn = shown.evaluate(
            "[...document.querySelectorAll('svg')].map(s => s.getBBox().width * s.getBBox().height)"
        )
        assert all(area > 0 for area in drawn)
        text = shown.evaluate("document.body.innerText")
    for name, mask in load_masks(run / "step_2_2" / "masks.npz").items():
        left = f"{mask.sum()} of {mask.size} weights are left"
        assert f"{name}, 75 % pruned. {left}" in text
    assert "BatchNormalization" in text
    assert "4 x 4 x 6" in text  # the output of the strided convolution


@pytest.mark.slow
def test_the_model_before_is_the_file_that_was_pruned_and_no_other(run, small_file):
    before = read_run(run).before
    # Biases and beta begin with zeros, and so does the mean of the normalization.
    assert (before.parameters, before.nonzeros) == (802, 802 - 28)

    shutil.copy(small_file, run.with_name("mine.keras"))

    assert read_run(run).before is None
    assert compressor.report_run(run).page.is_file()


def test_markdown_says_the_same_and_its_links_lead_somewhere(run):
    written = compressor.report_run(run)

    text = written.markdown.read_text()
    links = set(re.findall(r"\((figures/[^)]+)\)", text))
    assert len(links) >= 8
    assert all((run / link).stat().st_size > 100 for link in links)
    titles = re.findall(r"<h2>(.*?)</h2>", written.page.read_text())
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        title.replace("&#39;", "'") for title in titles
    ]


@pytest.mark.slow
def test_a_model_or_an_artefact_that_is_damaged_is_left_out_with_a_note(run):
    (run / "step_2_2" / "model.keras").write_bytes(b"PK\x03\x04 no model")
    file = next((run / "found").glob("*.tflite"))
    file.write_bytes(file.read_bytes()[:-1])

    text = compressor.report_run(run).markdown.read_text()

    assert "A model is left out: " in text
    assert "An artefact is left out: " in text
    assert str(run) not in text
    assert "Masks" not in text


def test_what_is_no_run_or_damaged_is_refused_and_nothing_is_written(tmp_path, run):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(UsageError):
            compressor.report_run(folder)
    (run / "bench.json").write_text('{"schema": "compressor.bench"}')
    with pytest.raises(CheckpointError, match="another version"):
        compressor.report_run(run)
    assert not list(tmp_path.rglob("report.*"))
    assert not (run / "figures").exists()


def test_a_sweep_goes_on_where_its_models_are_gone(results, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results))
    contents = read_run(tmp_path)

    assert contents.before is None
    assert not contents.after
    assert "structure" not in {section.key for section in build_report(contents).sections}


def test_connections_of_a_convolution_are_fractions_of_its_window():
    values = np.zeros((2, 2, 3, 4), np.float32)
    values[0, :, 1, 2] = 1
    kernel = KernelValues("conv", "Conv2D", values, True)

    found = kernel.connections()

    assert found.shape == (3, 4)
    assert found[1, 2] == 0.5
    assert found.sum() == 0.5
    assert kernel.density == 2 / 48


def test_a_large_kernel_is_a_small_picture_whose_cells_are_densities(small_net, tmp_path):
    model = small_net()
    kernel = model.get_layer("hidden").kernel
    values = np.ones(kernel.shape, np.float32)
    values[:, 3] = 0
    values[::2, 4] = 0
    kernel.assign(values)
    model.save(tmp_path / "m.keras")
    network = read_network(tmp_path / "m.keras", "some pruned")

    (picture,) = mask_pictures([network])

    assert picture.size == (64, 12)
    assert "672 of 768 weights are left (87.50 %); 1 of 12 outputs have none" in picture.caption
    from io import BytesIO

    from matplotlib.image import imread

    pixels = imread(BytesIO(picture.png))
    assert pixels.shape[:2] == (12, 64)
    assert len(np.unique(pixels[3].reshape(-1, 4), axis=0)) == 1
    assert len(np.unique(pixels[4].reshape(-1, 4), axis=0)) == 2
