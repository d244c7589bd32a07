"""Pictures of what pruning left of the kernels, and histograms of their weights."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from compressor.report import formatting as form, plotting as plot
from compressor.report.content import Figure, Picture
from compressor.report.networks import KernelValues, Network

_MOST_KERNELS = 8
_CELLS = (196, 96)  # width and height of a density picture, at most
_TILES = (480, 240)  # pixels of a picture of convolution windows, at most
_BINS = 81
_SCALE = ("#f3f6f9", "#7db3dd", "#0f62a6", "#06294a")
_GAP = -1.0
_BETWEEN = (201, 210, 218, 255)


def _pruned_names(networks: Sequence[Network]) -> list[str]:
    """The kernels that any of the networks has zeros in, in their order."""
    kernels = (kernel for network in networks for kernel in network.kernels)
    return list(dict.fromkeys(k.name for k in kernels if k.density < 1 and k.values.ndim > 1))


def mask_pictures(networks: Sequence[Network]) -> list[Picture]:
    """For each pruned kernel a picture of each network's: where weights are left."""
    return [
        _mask_picture(kernel, network, f"{index}_{number}")
        for index, name in enumerate(_pruned_names(networks)[:_MOST_KERNELS])
        for number, network in enumerate(networks)
        for kernel in network.kernels
        if kernel.name == name
    ]


def _mask_picture(kernel: KernelValues, network: Network, number: str) -> Picture:
    tiled = kernel.values.ndim > 2 and kernel.is_matrix
    cells, what = _tiles(kernel) if tiled else _density(kernel)
    top, left = float(cells.max()), int(np.count_nonzero(kernel.values))
    scale = f" White is 0 %, the darkest {form.proportion(round(top, 4))}."
    dead = int((kernel.connections().sum(axis=0) == 0).sum())
    units = kernel.values.shape[-1]
    finding = f"{form.count(left)} of {form.count(kernel.values.size)} weights are left"
    finding += f" ({form.percent(kernel.density)} %)"
    if dead:
        finding += f"; {form.count(dead)} of {form.count(units)} outputs have none"
    return Picture(
        f"mask_{number}_{_file_name(kernel.name)}",
        f"{form.short(kernel.name)}, {network.title}",
        f"{finding}. {what}{scale if kernel.values.ndim == 2 else ''}",
        _png(cells, top),
        (cells.shape[1], cells.shape[0]),
    )


def _density(kernel: KernelValues) -> tuple[np.ndarray, str]:
    """The density of blocks of the kernel as a matrix, its longer side across."""
    left = kernel.left.reshape(-1, kernel.values.shape[-1])
    down, across = "inputs", "outputs"
    if left.shape[0] > left.shape[1]:
        left, down, across = left.T, across, down
    down_edges, across_edges = (
        _edges(size, most) for size, most in zip(left.shape, _CELLS[::-1], strict=True)
    )
    rows = np.add.reduceat(left.astype(np.int32), down_edges[:-1], axis=0)
    sums = np.add.reduceat(rows, across_edges[:-1], axis=1)
    tall, wide = np.diff(down_edges), np.diff(across_edges)
    cells = sums / (tall[:, None] * wide[None, :])
    width, height = int(wide.max()), int(tall.max())
    each = f"up to {width} x {height} weights" if width * height > 1 else "one weight"
    shape = " x ".join(form.count(size) for size in kernel.values.shape)
    return cells, f"Shape {shape}, {across} across, {down} down; a pixel is {each}."


def _edges(size: int, most: int) -> np.ndarray:
    """Where `size` weights are cut into at most `most` parts that are as large as one another."""
    parts = min(size, most)
    return np.arange(parts + 1) * size // parts


def _tiles(kernel: KernelValues) -> tuple[np.ndarray, str]:
    """Each window of a convolution as a tile: inputs down, outputs across."""
    *window, inputs, outputs = kernel.values.shape
    high, wide = (math.prod(window[:-1]), window[-1])
    columns = max(1, min(outputs, _TILES[0] // (wide + 1)))
    rows = max(1, min(inputs, _TILES[1] // (high + 1)))
    left = kernel.left.reshape(high, wide, inputs, outputs)[:, :, :rows, :columns]
    cells = np.full((rows, high + 1, columns, wide + 1), _GAP)
    cells[:, :high, :, :wide] = left.transpose(2, 0, 3, 1)
    shown = "" if (rows, columns) == (inputs, outputs) else f" (the first {rows} and {columns})"
    text = (
        f"A tile is a window of {' x '.join(map(str, window))} weights; "
        f"{form.count(inputs)} inputs down, {form.count(outputs)} outputs across{shown}; "
        "dark: left."
    )
    return cells.reshape(rows * (high + 1), columns * (wide + 1))[:-1, :-1], text


def _png(cells: np.ndarray, top: float) -> bytes:
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.image import imsave

    colours = LinearSegmentedColormap.from_list("left", _SCALE)
    pixels = colours(np.clip(cells, 0, None) / max(top, 1e-12), bytes=True)
    pixels[cells == _GAP] = _BETWEEN
    content = io.BytesIO()
    metadata: Any = {"Software": None}
    imsave(content, pixels, format="png", metadata=metadata)
    return content.getvalue()


def _file_name(name: str) -> str:
    """A name of a model as part of a file name: letters, digits and underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name)[:40].strip("_") or "unnamed"


def histograms(before: Network | None, after: Sequence[Network]) -> list[Figure]:
    """For each kernel the weights before and after pruning and retraining."""
    networks = [*([before] if before else []), *after]
    names = dict.fromkeys(kernel.name for network in networks for kernel in network.kernels)
    pruned = _pruned_names(after)
    order = [*pruned, *(name for name in names if name not in pruned)]
    figures = []
    for number, name in enumerate(order[:_MOST_KERNELS]):
        kernels = {
            network.title: kernel
            for network in networks
            for kernel in network.kernels
            if kernel.name == name
        }
        figures.append(
            Figure(
                f"weights_{number}_{_file_name(name)}",
                f"Weights of {form.short(name)}{', before and after' if before else ''}",
                _histogram_caption(kernels),
                partial(_draw_histogram, kernels),
            )
        )
    return figures


def _draw_histogram(kernels: dict[str, KernelValues]) -> Any:
    figure, axes = plot.new_figure(height=2.6)
    left = {title: kernel.values[kernel.left] for title, kernel in kernels.items()}
    present = {title: values[np.isfinite(values)] for title, values in left.items()}
    furthest = max((float(np.abs(v).max()) for v in present.values() if v.size), default=1.0)
    edges = np.linspace(-furthest, furthest, _BINS + 1)
    colours = iter((plot.SKY, plot.VERMILLION, plot.PURPLE))
    for title, values in present.items():
        counts, _ = np.histogram(values.astype(np.float64), edges)
        if title == "dense":
            axes.stairs(counts, edges, fill=True, color=plot.FAINT, label=title)
        else:
            axes.stairs(counts, edges, color=next(colours, plot.INK), lw=1.4, label=title)
    axes.set_yscale("log")
    plot.plain_log_axis(axes.yaxis, (1,))
    axes.set_ylim(bottom=0.7)
    axes.set_xlim(-furthest, furthest)
    axes.set_xlabel("weight (those that are not zero)")
    axes.set_ylabel("weights a bin")
    plot.legend_above(axes)
    return figure


def _histogram_caption(kernels: dict[str, KernelValues]) -> str:
    parts = []
    for title, kernel in kernels.items():
        left = np.abs(kernel.values[kernel.left].astype(np.float64))
        magnitudes = left[np.isfinite(left)]
        found = f"{form.count(left.size)} weights" if left.size else "nothing is left"
        if magnitudes.size:
            found += f", median magnitude {np.median(magnitudes):.3g}, "
            found += f"largest {magnitudes.max():.3g}"
        if magnitudes.size < left.size:
            found += f", {form.count(left.size - magnitudes.size)} of them infinite or no numbers"
        parts.append(f"{title}: {found}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}. The count is logarithmic."
