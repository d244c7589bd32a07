"""The figures: both formats, readable, and the same bytes every time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from compressor.errors import StorageError
from compressor.foundation import write_files
from compressor.report.plotting import draw, picture_files
from compressor.report.run_contents import RunContents
from compressor.report.sections import build_report
from compressor.report.writing import write_report

NAMES = ["figure_5_size", "figure_6_accuracy", "figure_7_prediction_time", "figure_encodings"]


def write_figures(results, directory):
    report = build_report(RunContents("run", results))
    files = picture_files(report, draw(report), directory)
    write_files(files)
    return list(files)


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(content[16:20]), int.from_bytes(content[20:24])


def svg_text(path):
    root = ElementTree.fromstring(path.read_text())
    return [" ".join("".join(e.itertext()).split()) for e in root.iter() if e.tag.endswith("text")]


@pytest.mark.slow
def test_files_labels_and_the_same_bytes_again_whatever_the_users_settings(results, tmp_path):
    paths = write_figures(results, tmp_path / "a")
    assert [p.name for p in paths] == [f"{n}{s}" for n in NAMES for s in (".png", ".svg")]
    for path in paths[::2]:
        width, height = png_size(path)
        assert width >= 900
        assert height >= 600
        assert path.stat().st_size > 10_000
    texts = {name: svg_text(tmp_path / "a" / f"{name}.svg") for name in NAMES}
    assert {"model size (MiB)", "66.6", "20 %", "the paper's numbers"} <= {*texts[NAMES[0]]}
    assert {"test accuracy (%)", "10", "90"} <= {*texts[NAMES[1]]}
    assert "10 batches of 32 (ms)" in texts[NAMES[2]]
    assert {"coo-paper", "entropy (bound)", "break-even"} <= {*texts[NAMES[3]]}

    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "figure.dpi": 50}):
        again = write_figures(results, tmp_path / "b")
        assert matplotlib.rcParams["font.size"] == 30
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in paths]


def test_captions_say_what_the_numbers_say(results):
    report = build_report(RunContents("run", results))
    section = next(part for part in report.sections if part.key == "figures")
    size, accuracy, time = (figure.caption for figure in section.blocks[0].figures)
    assert "from 50 % on smaller than the dense checkpoint (37.48 MiB" in size
    assert "differs from the paper's 6 sizes by 0.06 MiB at most" in size
    assert "not at 0" in accuracy
    assert "The dense model has 98.90 %" in accuracy
    assert "no faster at any proportion" in time


@pytest.mark.slow
def test_many_proportions_and_seeds_can_be_drawn(results_of, tmp_path):
    many = results_of(seeds=2, sparsities=tuple(i / 13 for i in range(1, 13)))
    assert len(write_figures(many, tmp_path)) == 8


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_is_one_line(results, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write"):
        write_report(results, tmp_path / "file" / "report")
