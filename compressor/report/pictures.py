"""The pictures of a report: drawn once, for the page and for the files beside the Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from compressor.foundation import write_bytes
from compressor.report import plotting as plot
from compressor.report.content import Figure, Figures, Picture, Pictures, Report, all_blocks

Drawings = Mapping[str, plot.Drawn]
"""Name of a figure -> what was drawn."""


def draw(report: Report) -> Drawings:
    """Draw every figure of the report.

    The same report gives the same bytes with the same version of matplotlib.
    """
    with plot.style():
        return {figure.name: plot.drawn(figure.draw()) for figure in _figures(report)}


def write_pictures(report: Report, drawings: Drawings, directory: Path) -> list[Path]:
    """Write the pictures that the Markdown links to into `directory`, and return their paths.

    Figures as PNG (220 dpi) and SVG, images as PNG. Raises StorageError where a file cannot be
    written.
    """
    paths: list[Path] = []
    for figure in _figures(report):
        paths += plot.save(drawings[figure.name], directory, figure.name)
    for picture in _images(report):
        paths.append(directory / f"{picture.name}.png")
        write_bytes(paths[-1], picture.png)
    return paths


def _figures(report: Report) -> Iterator[Figure]:
    for section in report.sections:
        for block in all_blocks(section.blocks):
            if isinstance(block, Figures):
                yield from block.figures


def _images(report: Report) -> Iterator[Picture]:
    for section in report.sections:
        for block in all_blocks(section.blocks):
            if isinstance(block, Pictures):
                yield from block.pictures
