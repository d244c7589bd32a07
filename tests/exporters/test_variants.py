"""Which variant is taken: by validation data and measured latency, never by test data."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from compressor import exporters
from compressor.errors import UsageError
from compressor.exporters import exporting, variants
from compressor.exporters.checking import Checked
from compressor.exporters.request import QUANTIZATIONS, ExportedFile, Request
from compressor.exporters.targets import aim_of
from compressor.runs import is_slower


@pytest.fixture
def timed_variants(monkeypatch) -> Callable[..., exporters.Variants]:
    """Variants that all pass, with given sizes and median latencies beside dense float32's."""

    def make(
        milliseconds,
        sizes,
        *,
        dense,
        optimize="size",
        max_slowdown=None,
        encoding=None,
        host=None,
        known_data=True,
        delegate=None,
    ):
        contents = [bytes([number]) * size for number, size in enumerate(sizes)]
        times = dict(zip(contents, milliseconds, strict=True)) | {b"dense": dense}
        place = host

        class Job:
            data = "some" if known_data else None
            integers_already = False
            processes = SimpleNamespace(pause=lambda: None)

            def timed_on(self, file):
                return {}

            def request(self, runtime, quantize, optimize, encoding):
                if encoding != "dense" and QUANTIZATIONS.index(quantize) >= len(sizes):
                    raise UsageError("there is no such variant")
                return Request(runtime, quantize, optimize, encoding)

            def build(self, file_format, request):
                number = QUANTIZATIONS.index(request.quantize)
                content = b"dense" if request.encoding == "dense" else contents[number]
                return ExportedFile(content, (), (), {})

            def check(self, file_format, request, file):
                verdict = SimpleNamespace(passed=True)
                return Checked(file_format, request, file, verdict, {"delegate": delegate}, None)

        def measured(given, runtime, *, rounds, host, data):
            assert runtime == "litert" and host is place
            row = np.array([times[content] for content in given])
            # One slow round changes nothing: medians over the rounds count.
            return np.array([row, 50 * row] + [row] * 5)

        monkeypatch.setattr(variants, "median_latencies", measured)
        listener = SimpleNamespace(stage=lambda title: None)
        return exporters.Variants(
            Job(), "tflite", "litert", optimize, encoding, listener, max_slowdown, host
        )

    return make


@pytest.mark.parametrize(
    ("milliseconds", "sizes", "expected"),
    [
        ([2.0, 1.0, 3.0], [1, 9, 1], 1),
        ([1.019, 1.0, 1.021], [5, 9, 1], 0),  # within 2 % the smaller file wins
        ([1.0, 1.0], [9, 9], 0),
    ],
)
def test_within_two_percent_of_the_fastest_the_smaller_file_wins(
    timed_variants, milliseconds, sizes, expected
) -> None:
    chosen = timed_variants(milliseconds, sizes, dense=4.0, optimize="latency").best()

    assert chosen.request.quantize == QUANTIZATIONS[expected]
    assert chosen.speed.ratio["value"] == pytest.approx(milliseconds[expected] / 4)
    assert not is_slower(chosen.speed.describe())


@pytest.mark.parametrize(
    ("milliseconds", "sizes", "expected"),
    [
        ([2.0, 1.0, 3.0], [5, 9, 1], 1),
        ([1.09, 1.0, 1.11], [5, 9, 1], 0),
        ([1.09, 1.0, 1.07], [5, 9, 7], 0),
        ([4.5, 4.6], [5, 1], None),
    ],
)
def test_balanced_is_the_smallest_within_a_tenth_of_the_fastest(
    timed_variants, milliseconds, sizes, expected
) -> None:
    variants = timed_variants(milliseconds, sizes, dense=4.0, optimize="balanced")

    chosen = variants.best()

    if expected is None:
        assert chosen.file.content == b"dense"
    else:
        assert chosen.request.quantize == QUANTIZATIONS[expected]
        assert chosen.speed.ratio["value"] == pytest.approx(milliseconds[expected] / 4)


@pytest.mark.parametrize(("slow", "aim"), [(1.09, "size"), (1.3, "latency")])
def test_balanced_tries_the_encodings_for_the_size_and_for_the_latency(
    timed_variants, monkeypatch, slow, aim
) -> None:
    chooser = timed_variants([1.0], [1], dense=4.0, optimize="balanced")
    contents = {"size": b"s", "latency": b"faster"}
    times = {b"s": slow, b"faster": 1.0, b"dense": 4.0}

    def build(file_format, request):
        content = b"dense" if request.encoding == "dense" else contents[request.optimize]
        return ExportedFile(content, (), (), {})

    def measured(given, runtime, *, rounds, host, data):
        return np.array([[times[content] for content in given]] * 3)

    monkeypatch.setattr(chooser.job, "build", build)
    monkeypatch.setattr(variants, "median_latencies", measured)

    chosen = chooser.best()

    assert chosen.file.content == contents[aim]
    assert chosen.request.optimize == "balanced"
    (note,) = chosen.file.notes
    assert ("a smaller one in none would have 1 bytes" in note) == (aim == "latency")


@pytest.mark.parametrize(
    ("milliseconds", "sizes", "said"),
    [
        (
            [2.0, 1.0, 3.0],
            [5000, 9000, 1234],
            "float16 is the smallest that takes at most 1.1 times as long as the fastest; dynamic "
            "would have 1,234 bytes and take 3.0 times as long: --optimize size.",
        ),
        (
            [1.0, 1.05],
            [9, 5],
            "float16 is the smallest, and takes at most 1.1 times as long as the fastest.",
        ),
        # What is slower than the size may be is no alternative.
        (
            [1.0, 5.0],
            [9, 5],
            "none is the smallest that passes and takes at most 1.1 times as long as the fastest.",
        ),
    ],
)
def test_a_balanced_choice_says_what_was_chosen_and_what_the_smallest_would_be(
    timed_variants, milliseconds, sizes, said
) -> None:
    chosen = timed_variants(milliseconds, sizes, dense=4.0, optimize="balanced").best()

    assert chosen.file.notes == (f"Of {len(sizes)} variants {said}",)


def test_a_balanced_choice_of_one_variant_says_nothing(timed_variants) -> None:
    assert not timed_variants([1.0], [9], dense=4.0, optimize="balanced").best().file.notes


def test_balanced_onnx_is_built_twice_only_where_the_aim_changes_the_file(timed_variants) -> None:
    chooser = timed_variants([1.0, 1.0, 1.0], [9, 8, 7], dense=4.0, optimize="balanced")
    chooser.format, build, built = "onnx", chooser.job.build, []

    def counted(file_format, request):
        built.append((request.quantize, request.optimize))
        return build(file_format, request)

    chooser.job.build = counted
    chooser.best()

    once = [("none", "balanced"), ("float16", "balanced")]
    assert built[:4] == [*once, ("dynamic", "size"), ("dynamic", "latency")]
    assert built[4:] == [("none", "balanced")]  # dense, to be timed beside


def test_a_balanced_choice_keeps_to_a_slowdown_that_was_asked_for(timed_variants) -> None:
    variants = timed_variants(
        [2.0, 2.15], [9, 5], dense=4.0, optimize="balanced", max_slowdown=0.52
    )

    assert variants.best().file.content == bytes(9)
    variants.max_slowdown = 0.6
    assert variants.best().file.content == b"\x01" * 5


@pytest.mark.parametrize("aim", ["latency", "balanced"])
def test_weights_are_rounded_on_inputs_only_where_the_variant_may_be_taken(
    timed_variants, monkeypatch, aim
) -> None:
    """Which takes longest by far. Of seven the fifth is the fastest, and does not pass else."""
    chooser = timed_variants(
        [4, 4, 4, 1.0, 0.9, 3, 3], [90, 80, 70, 60, 50, 40, 30], dense=4.0, optimize=aim
    )
    chooser.rounding, done = None, []
    check = chooser.job.check

    def judged(file_format, request, file):
        passed = request.quantize != "int4" or request.rounding == "reconstruct"
        verdict = SimpleNamespace(passed=passed, reason="it is poor")
        checked = check(file_format, request, file)
        return dataclasses.replace(checked, verdict=verdict, vectors="some")

    def rounded(build, request, file):
        done.append(request.quantize)
        return dataclasses.replace(request, rounding="reconstruct"), file

    chooser.job.check = judged
    chooser.job.rounder = SimpleNamespace(rounded=rounded)
    monkeypatch.setattr(variants, "_compared", lambda rounded, nearest: "rounded")

    chosen = chooser.best()

    assert chosen.request.quantize == "int4" and chosen.verdict.passed
    assert done == ["int4"]


def test_one_quantisation_is_encoded_for_the_size_where_faster_encodings_do_not_pass(
    timed_variants,
) -> None:
    chooser = timed_variants([1.0, 1.0, 1.0], [9, 8, 7], dense=4.0, optimize="balanced")
    check = chooser.job.check

    def build(file_format, request):
        return ExportedFile(request.optimize.encode(), (), (), {})

    def judged(file_format, request, file):
        passed = file.content == b"size" and request.quantize != "none"
        verdict = SimpleNamespace(passed=passed, reason="it loses 3 points")
        return dataclasses.replace(check(file_format, request, file), verdict=verdict)

    chooser.job.build, chooser.job.check = build, judged

    slower = chooser.one("dynamic")
    assert slower.file.content == b"size" and slower.request.optimize == "size"
    assert slower.file.notes == (
        "Encoded for the size: what is faster does not pass, it loses 3 points.",
    )
    assert chooser.one("none").file.content == b"balanced"  # neither does


@pytest.mark.parametrize("aim", ["size", "balanced"])
def test_one_quantisation_says_its_price(timed_variants, aim) -> None:
    chooser = timed_variants([1.0, 1.0, 1.0], [9, 8, 7], dense=4.0, optimize=aim)
    build = chooser.job.build

    def priced(file_format, request):
        return dataclasses.replace(build(file_format, request), price="It is slow.")

    chooser.job.build = priced

    assert chooser.one("dynamic").file.notes == ("It is slow.",)


@pytest.mark.parametrize(
    ("target", "aim"),
    [
        (("tflite", "litert"), "balanced"),
        (("tflite", "tflite-runtime"), "balanced"),
        (("onnx", "onnxruntime"), "balanced"),
        (("onnx", "onnxruntime-web"), "size"),
        (("onnx", "onnxruntime-gpu"), "size"),
        (("onnx", "cuda"), "size"),
        (("tflite", "tflite-micro"), "size"),
        (("c", "host"), "size"),
    ],
)
def test_the_default_aim_is_balanced_where_latencies_are_measured_here(target, aim) -> None:
    assert aim_of(*target, None) == aim
    assert aim_of(*target, "latency") == "latency"


@pytest.mark.parametrize("target", [("tflite", "tflite-micro"), ("c", "host")])
def test_what_cannot_be_balanced_is_refused(rejected, target) -> None:
    assert "no latency is measured" in rejected(UsageError, aim_of, *target, "balanced")


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(1.05, 1), (1.2, 2), (None, 2)],
)
def test_the_smallest_file_that_is_fast_enough_is_taken(timed_variants, limit, expected) -> None:
    """Of 9, 5 and 1 bytes; the smallest takes 1.13 times as long as dense."""
    variants = timed_variants([3.0, 2.0, 4.52], [9, 5, 1], dense=4.0, max_slowdown=limit)

    chosen = variants.best()

    assert chosen.request.quantize == QUANTIZATIONS[expected]
    if limit is None:
        assert chosen.speed is None  # nothing was measured, nothing is said
    else:
        assert is_slower(chosen.speed.describe()) == (expected == 2)


def test_where_every_variant_is_slower_than_dense_only_dense_is_left(timed_variants) -> None:
    chosen = timed_variants([5.0, 4.8, 4.6], [9, 5, 1], dense=4.0, max_slowdown=1.05).best()

    assert chosen.file.content == b"dense"
    assert chosen.speed.ratio["value"] == 1
    assert chosen.file.notes == ()


def test_where_nothing_keeps_to_the_limit_the_fastest_is_taken_and_says_so(timed_variants) -> None:
    """Not dense float32, which would be larger and slower."""
    chosen = timed_variants([3.0, 2.0, 4.52], [9, 5, 1], dense=4.0, max_slowdown=0.4).best()

    assert chosen.request.quantize == QUANTIZATIONS[1]
    assert chosen.speed.ratio["value"] == pytest.approx(0.5)
    assert chosen.file.notes == ("no variant keeps to a slowdown of 0.4: this is the fastest",)


@pytest.mark.parametrize("ask", ["best", "one"])
def test_an_encoding_that_was_asked_for_stays_however_slow(timed_variants, ask) -> None:
    variants = timed_variants([5.0, 4.8], [9, 1], dense=4.0, max_slowdown=1.05, encoding="csr")

    chosen = variants.best() if ask == "best" else variants.one("float16")

    assert chosen.request.encoding == "csr"
    assert chosen.speed.ratio["value"] == pytest.approx(1.2)
    assert chosen.file.notes == ("no variant keeps to a slowdown of 1.05: this is the fastest",)


@pytest.mark.parametrize(("milliseconds", "expected"), [(4.52, b"dense"), (4.1, b"\x00")])
def test_one_quantisation_is_stored_dense_where_its_encodings_are_too_slow(
    timed_variants, milliseconds, expected
) -> None:
    chosen = timed_variants([milliseconds], [1], dense=4.0, max_slowdown=1.05).one("none")

    assert chosen.file.content == expected


def test_for_the_latency_dense_float32_is_taken_where_all_else_is_slower(timed_variants) -> None:
    """The constants that rank encodings come from another processor."""
    chosen = timed_variants([4.4, 4.5], [5, 1], dense=4.0, optimize="latency").best()

    assert chosen.file.content == b"dense"
    assert chosen.speed.ratio["value"] == 1


@pytest.mark.parametrize("ask", ["best", "one"])
def test_a_host_measures_without_a_limit_too(timed_variants, ask) -> None:
    host = SimpleNamespace(name="pi")
    variants = timed_variants([4.0, 4.8], [9, 1], dense=4.0, host=host)

    chosen = variants.best() if ask == "best" else variants.one("float16")

    assert chosen.file.content == b"\x01"
    assert chosen.speed.host == "pi" and is_slower(chosen.speed.describe())


@pytest.mark.parametrize(("optimize", "expected"), [("size", 1), ("latency", 0)])
def test_without_data_none_is_taken_whose_cost_is_unknown(
    timed_variants, optimize, expected
) -> None:
    """Accuracy is not measured: a codebook that was the smallest would be taken at any cost."""
    variants = timed_variants(
        [2.0, 3.0, 1.0], [9, 5, 1], dense=4.0, optimize=optimize, known_data=False
    )

    chosen = variants.best()

    assert chosen.request.quantize == QUANTIZATIONS[expected]
    assert chosen.file.notes == (
        "without data it was chosen among full precision and float16 only",
    )


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"quantize": "auto", "optimize": "size"}, 1.05),
        ({"quantize": "auto", "runtime": "tflite-micro"}, 1.05),
        ({"quantize": "auto"}, None),
        ({"quantize": "auto", "max_slowdown": 1.5}, 1.5),
        ({"quantize": "auto", "max_slowdown": None}, None),
        ({"quantize": "auto", "optimize": "latency"}, None),
        ({"quantize": "auto", "optimize": "balanced"}, None),
        ({"quantize": "int8"}, None),
        ({"quantize": "int8", "max_slowdown": 1.05}, 1.05),
    ],
)
def test_the_limit_is_1_05_where_variants_are_chosen_among_for_the_size(
    monkeypatch, tmp_path, options, limit
) -> None:
    given = []

    def made(*arguments):
        given.extend(arguments)
        return SimpleNamespace(best=lambda: None, one=lambda quantize: None)

    monkeypatch.setattr(exporting, "_job", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(exporting, "Variants", made)
    monkeypatch.setattr(exporting, "write_artifact", lambda *_: {})

    model = tmp_path / "model.keras"
    model.touch()
    exporting.export(model, tmp_path / "model.tflite", **options)

    assert given[-2:] == [limit, None]


def test_a_quantisation_that_makes_the_file_larger_says_so(timed_variants) -> None:
    quantised = timed_variants([1.0, 1.0], [1200, 1500], dense=1.0).one("float16")

    (note,) = quantised.file.notes
    assert note.startswith("it is larger than in float32, 1,500 bytes against 1,200")
    assert timed_variants([1.0, 1.0], [1200, 900], dense=1.0).one("float16").file.notes == ()
    assert timed_variants([1.0, 1.0], [1200, 1500], dense=1.0).one("none").file.notes == ()


@pytest.mark.parametrize(
    ("nodes", "of", "told"), [(50, 61, True), (0, 5, True), (60, 66, False), (7, 8, False)]
)
def test_int8_that_plain_kernels_compute_in_part_says_so(timed_variants, nodes, of, told) -> None:
    delegate = {"name": "XNNPACK", "nodes": nodes, "of": of}
    variants = timed_variants([1.0] * 4, [9, 5, 4, 3], dense=1.0, delegate=delegate)

    notes = variants.one("int8").file.notes
    assert [note.partition(" nodes")[0] for note in notes] == (
        [f"XNNPACK computes {nodes} of its {of}"] if told else []
    )
    assert not any("plain kernels" in note for note in variants.one("float16").file.notes)


def test_what_was_measured_to_be_slow_needs_no_guess(timed_variants) -> None:
    delegate = {"name": "XNNPACK", "nodes": 0, "of": 9}
    variants = timed_variants(
        [1.0] * 4, [9, 5, 4, 3], dense=1.0, delegate=delegate, max_slowdown=1.05
    )

    assert variants.one("int8").file.notes == ()


@pytest.mark.parametrize("ask", ["best", "one"])
def test_loops_and_unrolled_layers_are_measured_where_the_latency_counts(
    timed_variants, ask
) -> None:
    variants = timed_variants([3.0, 4.0], [5, 9], dense=4.0, optimize="latency", max_slowdown=9)
    variants.unrolled = (32, 1)
    build, built = variants.job.build, []

    def numbered(file_format, request):
        built.append((request.quantize, request.unrolled))
        file = build(file_format, request)
        # A loop takes as long as float16.
        loop = request.unrolled == 1 and request.encoding != "dense"
        return build(file_format, Request("litert", "float16")) if loop else file

    variants.job.build = numbered
    chosen = variants.best() if ask == "best" else variants.one("none")

    assert {("none", 32), ("none", 1)} <= set(built)
    assert (chosen.request.quantize, chosen.request.unrolled) == ("none", 32)
    assert chosen.speed.ratio["value"] == pytest.approx(0.75)
