"""The variants of one model in one format: which to take, by validation data and measured speed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from compressor.errors import ModelError, UsageError
from compressor.exporters.checking import Checked, Job
from compressor.exporters.measured import MeasuredVariants
from compressor.exporters.parity import OUTPUT_TOLERANCE
from compressor.exporters.request import (
    BALANCED,
    MAX_SLOWDOWN,
    QUANTIZATIONS,
    ROUNDED,
    ExportedFile,
    Optimize,
    Quantize,
    Request,
    Rounding,
)
from compressor.exporters.speed import Speed
from compressor.foundation import Listener
from compressor.models import FLOAT32_BYTES
from compressor.remote import SshHost
from compressor.runtimes import find, median_latencies
from deploy.statistics import ratio_interval
from deploy.tasks import is_plain

_ROUNDS = 7
_TOLERATED_NODES = 1
"""that no delegate takes: LiteRT's XNNPACK leaves SOFTMAX in int8 to a plain kernel"""
_WITHIN = {"latency": 1.02, "balanced": BALANCED}
"""aim -> how many times the smallest median latency; within it the smaller file is taken"""


@dataclasses.dataclass
class Variants:
    """The variants of one model in one format, for one runtime.

    With a `max_slowdown`, a variant whose latency is more than so many times dense float32's is
    passed over. It is measured here, or on the `host`. Where none is left, the fastest is taken,
    and a note says so.
    """

    job: Job
    format: str
    runtime: str
    optimize: Optimize
    encoding: str | None
    listener: Listener
    max_slowdown: float | None = None
    host: SshHost | None = None
    rounding: Rounding | None = "nearest"
    """None: by reconstruction, too, where there are data, and in int8 where rounding to the nearest
    costs accuracy"""
    may_grow: bool = True
    """whether the better rounding may make a file larger"""
    value_bits: int = 8
    """of the weights' values in int8, in TFLite Micro"""
    loops: bool = False
    """whether recurrent layers are to be tried as loops and unrolled, which is measured"""

    def one(self, quantize: Quantize) -> Checked:
        """The variant with this quantisation, run and judged.

        Where its encodings are too slow, dense weights; the faster one where both are. With the aim
        `balanced`, encodings for the size where those that are fast cost too much accuracy.
        """
        checked = self._check(*self._build(quantize, unrolled=self.unrolled[0]))
        if not checked.verdict.passed:
            checked = self._otherwise(checked)
        if not checked.verdict.passed:
            return checked
        if checked.file.price:
            checked = _with_notes(checked, checked.file.price)
        if not self._measures:
            return _with_notes(checked, *self._drawbacks(checked))
        found = [self._timed(checked)]
        for unrolled in self.unrolled[1:]:
            found += self._passing(*self._build(quantize, unrolled=unrolled))
        if not self._is_fast(found[0]) and self.encoding is None:
            found += self._passing(*self._build(quantize, "dense"))
        return self._least_slow(found)

    def best(self) -> Checked:
        """The smallest variant that passes and is fast enough, or, for latency, the fastest.

        With the aim `balanced`, of those encoded for the size and for the latency the smallest of
        which the latency is within `BALANCED` times that of the fastest.

        Where none is fast enough, the fastest, of which full precision with dense weights is one.
        Where none passes, that of full precision, which then says why. Without data only those are
        tried whose outputs are bound to the model's: nothing says what the others cost.
        """
        if self.job.data is None:
            note = "without data it was chosen among full precision and float16 only"
            return _with_notes(self._best(tuple(OUTPUT_TOLERANCE)), note)
        return self._best(QUANTIZATIONS)

    def _best(self, quantizations: Sequence[Quantize]) -> Checked:
        found: dict[bytes, tuple[Request, ExportedFile]] = {}
        for quantize in quantizations:
            for aim in self._aims(quantize):
                for unrolled in (None,) if aim == "size" else self.unrolled:
                    with contextlib.suppress(ModelError, UsageError):  # this one cannot be made
                        request, file = self._build(quantize, unrolled=unrolled, aim=aim)
                        found.setdefault(file.content, (request, file))
        # Two files are for what does not fit into one.
        built = [made for made in found.values() if not made[1].data] or list(found.values())
        if self.optimize in _WITHIN:
            return self._fastest(built, _WITHIN[self.optimize])
        slow: list[Checked] = []
        fast: list[Checked] = []
        for request, file in sorted(built, key=lambda made: made[1].size):
            if any(found.size <= file.size for found in fast):
                break  # rounding may have made one larger than the next
            checked = self._check(request, file)
            if checked.verdict.passed:
                if self._measures:
                    checked = self._timed(checked)
                (fast if self._is_fast(checked) else slow).append(checked)
        if fast:
            return min(fast, key=lambda found: found.size)
        if not slow:
            return self.one("none")
        if self.encoding is None:
            slow += self._passing(*self._dense)
        return self._least_slow(slow)

    def _fastest(self, built: Sequence[tuple[Request, ExportedFile]], within: float) -> Checked:
        """The smallest that passes of those `within` so many times the latency of the fastest.

        Dense float32 counts, too.
        """
        ran = [self._nearest(*made) for made in built]
        ran = [one for one in ran if one.verdict.passed or (one.vectors and self._rounds(one))]
        if not ran:
            return self.one("none")
        times = self._latencies([one.file for one in ran])
        *own, dense = np.median(times, axis=0)
        found = MeasuredVariants(ran, np.array(own), self._rounded)
        fastest = found.fastest()
        if fastest is None:
            return self.one("none")
        # Where none is, encodings were ranked by constants, which this machine contradicts.
        is_fast = self.encoding is not None or own[fastest] <= dense
        limit = within * (own[fastest] if is_fast else dense)
        if self.max_slowdown is not None:
            limit = min(limit, self.max_slowdown * dense)
        near = found.smallest(limit)
        chosen = fastest if near is None else near
        best = found.settled(chosen)
        if best.file.content == ran[chosen].file.content:
            best = dataclasses.replace(best, speed=self._speed(times[:, chosen], times))
        else:
            best = self._timed(best)
        if near is None and not is_fast:
            note = f"Dense float32 is faster than each of {len(ran)} variants."
            plain = [_with_notes(one, note) for one in self._passing(*self._dense)]
            return self._least_slow([best, *plain])
        if near is not None and self.optimize == "balanced":
            most = MAX_SLOWDOWN if self.max_slowdown is None else self.max_slowdown
            best = _with_notes(best, found.told(chosen, most * dense))
        # Whatever it was encoded for, it was chosen for this.
        request = dataclasses.replace(best.request, optimize=self.optimize)
        return self._least_slow([dataclasses.replace(best, request=request)])

    def _drawbacks(self, checked: Checked) -> Iterator[str]:
        """What speaks against a quantisation, as far as that is known without measuring."""
        taken = checked.facts.get("delegate")
        if checked.request.quantize == "int8" and taken is not None:
            left = taken["of"] - taken["nodes"]
            if left > max(_TOLERATED_NODES, taken["of"] // 10):
                yield (
                    f"{taken['name']} computes {taken['nodes']} of its {taken['of']} nodes, and "
                    "plain kernels the rest: it may be slower than float32, which "
                    f"--max-slowdown {MAX_SLOWDOWN} measures"
                )
        if self.job.integers_already:
            return  # there is none in float32
        # A file in float32 holds at least the weights that are not zero.
        least = sum(
            tensor.dense_bytes - FLOAT32_BYTES * tensor.zeros for tensor in checked.file.tensors
        )
        if checked.request.quantize != "none" and checked.size > least:
            _, plain = self._build("none")
            if checked.size > plain.size:
                smaller = "" if self.optimize == "size" else "give --optimize size, "
                yield (
                    f"it is larger than in float32, {checked.size:,} bytes against "
                    f"{plain.size:,}: {smaller}leave --quantize out, or choose auto"
                )

    def _otherwise(self, checked: Checked) -> Checked:
        """The variant in the first other encodings that pass, where these do not.

        Those for the size, where these were to be fast, too. Weights of a file that was quantised
        before stay dense: encoded, the runtime may compute around them in other kernels.
        """
        others: list[tuple[str | None, Optimize | None, str]] = []
        if self.optimize == "balanced":
            others.append((None, "size", "Encoded for the size: what is faster does not pass"))
        if self.job.integers_already and self.encoding is None:
            others.append(("dense", None, "Its weights stay dense: encoded it does not pass"))
        for encoding, aim, note in others:
            request, file = self._build(checked.request.quantize, encoding, aim=aim)
            if file.content == checked.file.content:
                continue
            found = self._check(request, file)
            if found.verdict.passed:
                return _with_notes(found, f"{note}, {checked.verdict.reason}.")
        return checked

    def _passing(self, request: Request, file: ExportedFile) -> list[Checked]:
        """The variant with its speed, if it passes."""
        checked = self._check(request, file)
        return [self._timed(checked)] if checked.verdict.passed else []

    def _least_slow(self, found: list[Checked]) -> Checked:
        """The fastest, with a note where it, too, takes longer than is allowed."""
        fastest = min(found, key=_ratio)
        if self._is_fast(fastest):
            return fastest
        note = f"no variant keeps to a slowdown of {self.max_slowdown:g}: this is the fastest"
        return _with_notes(fastest, note)

    @functools.cached_property
    def unrolled(self) -> Sequence[int | None]:
        """The values of `Request.unrolled` to try."""
        return self.job.unrolled() if self.loops else (None,)

    def _aims(self, quantize: Quantize) -> tuple[Optimize, ...]:
        """What the encodings of tensors are chosen for, to choose among variants."""
        # ONNX Runtime decodes at load: but for dynamic each aim gives the same file.
        both = self.optimize == "balanced" and (self.format != "onnx" or quantize == "dynamic")
        return ("size", "latency") if both else (self.optimize,)

    @property
    def _measures(self) -> bool:
        return self.max_slowdown is not None or self.host is not None

    def _is_fast(self, checked: Checked) -> bool:
        """Whether the variant was not measured to be slower than is allowed."""
        if checked.speed is None or self.max_slowdown is None:
            return True
        return checked.speed.ratio["value"] <= self.max_slowdown

    def _timed(self, checked: Checked) -> Checked:
        """The variant with its speed."""
        times = self._latencies([checked.file])
        return dataclasses.replace(checked, speed=self._speed(times[:, 0], times))

    def _latencies(self, files: list[ExportedFile]) -> np.ndarray:
        """Milliseconds (rounds, files + 1) of the files and of dense float32, the last."""
        self.listener.stage(f"{self.format}: measure the latency")
        every = (*files, self._dense[1])
        contents = [file.content for file in every]
        if len(set(contents)) == 1:
            return np.ones((1, len(contents)))  # the same file is as fast as itself
        data = {name: part for file in every for name, part in file.data.items()}
        if data and self.host is not None:
            what = "a model with more than 2 GB in float32 is not measured over ssh"
            raise UsageError(what, value=self.host.name, hint="leave --host out")
        self.job.processes.pause()
        how: Any = {"host": self.host, "data": data, **self.job.timed_on(every[0])}
        return median_latencies(contents, self.runtime, rounds=_ROUNDS, **how)

    def _speed(self, own: np.ndarray, times: np.ndarray) -> Speed:
        ratio = ratio_interval(list(own[:, None]), list(times[:, -1:]))
        host = None if self.host is None else self.host.name
        return Speed(find(self.runtime).verified_in, host, ratio)

    @functools.cached_property
    def _dense(self) -> tuple[Request, ExportedFile]:
        return self._build("none", "dense")

    def _build(
        self,
        quantize: Quantize,
        encoding: str | None = None,
        unrolled: int | None = None,
        aim: Optimize | None = None,
    ) -> tuple[Request, ExportedFile]:
        self.listener.stage(f"{self.format}, {quantize}: build")
        encoding = encoding or self.encoding
        request = self.job.request(self.runtime, quantize, aim or self.optimize, encoding)
        request = dataclasses.replace(request, unrolled=unrolled, value_bits=self.value_bits)
        return request, self.job.build(self.format, request)

    def _check(self, request: Request, file: ExportedFile) -> Checked:
        """The variant, run and judged, with the better rounding of its weights."""
        return self._rounded(self._nearest(request, file))

    def _nearest(self, request: Request, file: ExportedFile) -> Checked:
        self.listener.stage(f"{self.format}, {request.quantize}: verify in {self.runtime}")
        return self.job.check(self.format, request, file)

    def _rounded(self, nearest: Checked) -> Checked:
        """The better of a variant with its weights rounded to the nearest and by reconstruction."""
        if not self._rounds(nearest):
            return nearest
        request, file = nearest.request, nearest.file
        self.listener.stage(f"{self.format}, {request.quantize}: round on training inputs")
        assert self.job.rounder is not None
        build = functools.partial(self.job.build, self.format)
        made = self.job.rounder.rounded(build, request, file)
        if isinstance(made, str):
            reason = made
        else:
            rounded = self.job.check(self.format, *made)
            reason = worse(rounded, nearest, may_grow=self.may_grow)
            if not reason:
                return _with_notes(rounded, _compared(rounded, nearest))
        return _with_notes(nearest, f"Weights are rounded to the nearest: {reason}.")

    def _rounds(self, nearest: Checked) -> bool:
        """Whether weights are to be rounded by reconstruction, too."""
        if self.rounding == "nearest" or nearest.request.quantize not in ROUNDED:
            return False
        if self.rounding is None and nearest.request.quantize == "int8" and nearest.verdict.passed:
            # An integer's rounding is as coarse as that of the activations, which stays.
            found = nearest.verdict.chosen_on
            lost = found.losses.values()
            if lost and max(lost) <= 0:
                return False
        return self.job.rounder is not None


def worse(rounded: Checked, nearest: Checked, *, may_grow: bool = True) -> str:
    """Why a file is no better than `nearest`, with weights rounded to the nearest, or empty.

    Of two that pass, on validation data: the one that lost less by the metrics that decide, or else
    the one whose outputs are closer to the model's.
    """
    if not rounded.verdict.passed:
        return f"by reconstruction it does not pass: {rounded.verdict.reason}"
    if not nearest.verdict.passed:
        return ""
    found, other = rounded.verdict.chosen_on, nearest.verdict.chosen_on
    if not may_grow and rounded.size > nearest.size:
        return f"by reconstruction the file takes {rounded.size:,} bytes"
    better = found.is_better(other)
    if better is not None:
        what = "the accuracy on validation data" if is_plain(found.heads) else "on validation data"
        return "" if better else f"by reconstruction {what} is {found.text()}"
    return "" if found.spread < other.spread else "by reconstruction outputs are no closer"


def _compared(rounded: Checked, nearest: Checked) -> str:
    both = [checked.verdict.chosen_on for checked in (rounded, nearest)]
    what = "Accuracy on" if is_plain(both[0].heads) else "On"
    shown = [found.text() for found in both]
    return f"{what} validation data {shown[0]}, with weights rounded to the nearest {shown[1]}."


def _with_notes(checked: Checked, *notes: str) -> Checked:
    file = dataclasses.replace(checked.file, notes=(*checked.file.notes, *filter(None, notes)))
    return dataclasses.replace(checked, file=file)


def _ratio(checked: Checked) -> float:
    return float("inf") if checked.speed is None else checked.speed.ratio["value"]
