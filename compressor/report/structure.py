"""The structure of any network before and after pruning: the paper's Figures 1, 2 and 4."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from compressor.report import formatting as form, plotting as plot
from compressor.report.content import Figure, Table
from compressor.report.networks import KernelValues, LayerSummary, Network

_UNITS = 11  # of a layer that are drawn, at most
_WEBS = 7  # kernels that are drawn, at most
_BARS = 24  # layers that are drawn, at most
_LEFT = 1.45  # inches for the names
_STEP, _BREAK = 0.62, 0.3  # inches between two rows of units, with connections and without


def layer_figure(before: Network | None, after: Network) -> Figure:
    """Every layer with its shape, and how many of its parameters are left."""
    first = before or after
    left = after.nonzeros / max(first.parameters, 1)
    more = f" The first {_BARS} are drawn." if len(first.layers) > _BARS else ""
    return Figure(
        "structure_layers",
        "The layers, and what is left of them (the paper's Figure 4)",
        f"{len(first.layers)} layers with {form.count(first.parameters)} parameters; in "
        f"“{after.title}” {form.count(after.nonzeros)} are not zero ({form.percent(left)} %). "
        f"Below each name: the shape of its output. The axis is logarithmic.{more}",
        partial(_draw_layers, before, after),
        wide=True,
    )


def _draw_layers(before: Network | None, after: Network) -> Any:
    layers = list((before or after).layers)[:_BARS]
    left = {layer.name: layer.nonzeros for layer in after.layers}
    figure, axes = plot.new_figure(height=0.9 + 0.3 * len(layers))
    y = np.arange(len(layers))
    counts = [max(layer.parameters, 0) for layer in layers]
    kept = [left.get(layer.name, 0) for layer in layers]
    axes.barh(y, counts, 0.62, color=plot.BEFORE, label=before.title if before else "parameters")
    axes.barh(y, kept, 0.62, color=plot.AFTER, label=f"{form.short(after.title, 24)}, not zero")
    most = max([*counts, 10])
    for position, (count, remain) in enumerate(zip(counts, kept, strict=True)):
        text = (
            form.count(count) if count == remain else f"{form.count(count)} → {form.count(remain)}"
        )
        look = {"va": "center", "color": plot.INK if count else plot.MUTED}
        plot.note(axes, text if count else "no weights", (max(count, 1), position), (3, 0), **look)
    axes.set_yticks(
        y,
        [f"{form.short(la.name, 18)}  {la.kind[:16]}\n{_shape_text(la)}" for la in layers],
    )
    axes.tick_params(axis="y", length=0, labelcolor=plot.INK, labelsize=plot.SMALL)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(1, most**1.55)
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.minorticks_off()
    plot.legend_above(axes, 1, end="right")
    return figure


def _shape_text(layer: LayerSummary) -> str:
    """The shape of a layer's output: "14 x 14 x 32"; "?" where it is not known."""
    if layer.shape is None:
        return "?"
    return " x ".join("?" if size is None else form.count(size) for size in layer.shape) or "1"


def web_figures(before: Network | None, after: Sequence[Network]) -> list[Figure]:
    """The connections between units, before and after (the paper's Figures 1 and 2)."""
    networks = [*([before] if before else []), *after]
    figures = []
    for number, network in enumerate(networks):
        if not any(kernel.values.ndim > 1 for kernel in network.kernels):
            continue
        which, paper_figure = ("before", 1) if network is before else ("after", 2)
        figures.append(
            Figure(
                f"structure_{number}_{which}",
                f"Connections, {network.title} (the paper's Figure {paper_figure})",
                _web_caption(network),
                partial(_draw_web, network),
            )
        )
    return figures


def _web_caption(network: Network) -> str:
    drawn = _drawn(network)
    lost = []
    for kernel, following in zip(drawn, [*drawn[1:], None], strict=True):
        dead = int(_dead_outputs(kernel, following).sum())
        if dead:
            units = form.count(kernel.values.shape[-1])
            lost.append(f"{form.short(kernel.name)} {form.count(dead)} of {units}")
    weights = sum(kernel.values.size for kernel in network.kernels)
    left = sum(int(np.count_nonzero(kernel.values)) for kernel in network.kernels)
    hollow = f"Units without inputs or outputs, hollow: {', '.join(lost)}. " if lost else ""
    text = (
        f"{form.count(left)} of {form.count(weights)} connections are there "
        f"({form.percent(left / max(weights, 1))} %). {hollow}"
        f"Up to {_UNITS} real units of each layer, evenly spaced; a line is a weight that is not "
        "zero, for convolutions the darker, the more of the window is left."
    )
    if len(drawn) < len(network.kernels):
        text += f" The first {len(drawn)} of {len(network.kernels)} kernels."
    return text


def _drawn(network: Network) -> list[KernelValues]:
    return [kernel for kernel in network.kernels if kernel.values.ndim > 1][:_WEBS]


def _follows(kernel: KernelValues, following: KernelValues | None) -> bool:
    """Whether the outputs of a kernel are, by their number, the inputs of the next."""
    return following is not None and kernel.values.shape[-1] == following.values.shape[-2]


def _dead_outputs(kernel: KernelValues, following: KernelValues | None) -> np.ndarray:
    """Which outputs have no weight in, or none out to the kernel that follows."""
    dead = kernel.connections().sum(axis=0) == 0
    if following is not None and _follows(kernel, following):
        dead = dead | (following.connections().sum(axis=1) == 0)
    return np.asarray(dead)


def _draw_web(network: Network) -> Any:
    drawn = _drawn(network)
    height = 0.2 + sum(
        _STEP + (0 if b is None or _follows(a, b) else _BREAK)
        for a, b in zip(drawn, [*drawn[1:], None], strict=True)
    )
    figure, axes = plot.new_figure(height=height)
    axes.set_axis_off()
    axes.set_xlim(-_LEFT, plot.WIDTH - _LEFT)
    axes.set_ylim(-height + 0.1, 0.1)
    y, previous = 0.0, None
    for kernel, following in zip(drawn, [*drawn[1:], None], strict=True):
        inputs, outputs = kernel.values.shape[-2:]
        if previous is None or not _follows(previous, kernel):
            if previous is not None:
                y -= _BREAK
            _units(axes, y, inputs, np.zeros(inputs, bool))
            _label(axes, y, _inputs_label(network, previous, kernel), plot.MUTED)
        _connections(axes, y, kernel)
        density = form.proportion(round(kernel.density, 4))
        _label(axes, y - _STEP / 2, f"{density} left", plot.MUTED)
        y -= _STEP
        _units(axes, y, outputs, _dead_outputs(kernel, following))
        _label(axes, y, f"{form.short(kernel.name, 14)}: {form.count(outputs)}", plot.INK)
        previous = kernel
    return figure


def _inputs_label(network: Network, previous: KernelValues | None, kernel: KernelValues) -> str:
    """How many inputs a kernel has that are not the units above it, and from which layer."""
    inputs = kernel.values.shape[-2]
    names = [layer.name for layer in network.layers]
    if previous is not None and previous.name in names and kernel.name in names:
        between = names[names.index(previous.name) + 1 : names.index(kernel.name)]
        if between:
            return f"{form.short(between[-1], 14)}: {form.count(inputs)}"
    return f"{form.count(inputs)} input{'s' if inputs > 1 else ''}"


def _label(axes: Any, y: float, text: str, colour: str) -> None:
    axes.text(-_LEFT, y, text, va="center", fontsize=plot.SMALL, color=colour)


def _sample(units: int) -> np.ndarray:
    return np.unique(np.linspace(0, units - 1, min(units, _UNITS)).round().astype(int))


def _places(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count * (plot.WIDTH - _LEFT - 0.15)


def _units(axes: Any, y: float, units: int, dead: np.ndarray) -> None:
    sample = _sample(units)
    gone = dead[sample]
    x = _places(len(sample))
    look = {"linestyle": "none", "marker": "o", "ms": 5, "zorder": 3}
    axes.plot(x[~gone], np.full(int((~gone).sum()), y), color=plot.INK, **look)
    axes.plot(x[gone], np.full(int(gone.sum()), y), mfc=plot.PAPER, mec=plot.MUTED, **look)


def _connections(axes: Any, y: float, kernel: KernelValues) -> None:
    from matplotlib.collections import LineCollection

    fraction = kernel.connections()
    first, last = _sample(fraction.shape[0]), _sample(fraction.shape[1])
    above, below = _places(len(first)), _places(len(last))
    drawn = fraction[np.ix_(first, last)]
    lines = [[(above[i], y), (below[j], y - _STEP)] for i, j in np.argwhere(drawn > 0)]
    if lines:
        alpha = 0.15 + 0.65 * drawn[drawn > 0].astype(float)
        axes.add_collection(
            LineCollection(lines, colors=plot.BLUE, alpha=alpha, linewidths=0.7, zorder=2)
        )


def layer_table(before: Network | None, after: Sequence[Network]) -> Table:
    """Every layer: its class, its shape, its parameters, and what is not zero after pruning."""
    first = before or after[0]
    nonzeros = [{layer.name: layer.nonzeros for layer in network.layers} for network in after]
    header = ["layer", "kind", "output", "parameters"]
    header += [f"{network.title}: not zero" for network in after]
    rows = [
        [
            *(layer.name, layer.kind, _shape_text(layer), form.count(layer.parameters)),
            *(form.known(left.get(layer.name)) for left in nonzeros),
        ]
        for layer in first.layers
    ]
    totals = [form.count(network.nonzeros) for network in after]
    rows.append(["all", "", "", form.count(first.parameters), *totals])
    return Table(header, rows, left=3)
