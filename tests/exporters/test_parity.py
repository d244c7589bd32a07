"""What passes as the same function, and what does not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from compressor.exporters.parity import judge, judge_single, report, spread
from compressor.exporters.reference import Reference, run_examples as run
from compressor.models.objective import objective_of
from compressor.models.preprocessing import preprocessing_of
from deploy.tasks import ACCURACY


@pytest.fixture(scope="module")
def reference(keras: Any) -> Reference:
    """A linear model on 400 examples, 40 of which it gets wrong."""
    layers = [keras.Input((6,), name="row"), keras.layers.Dense(4, name="out")]
    model = keras.Sequential(layers)
    x = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    scores = np.asarray(model.predict_on_batch(x))
    labels = scores.argmax(axis=1)
    labels[::10] = (labels[::10] + 1) % 4
    return Reference(x, preprocessing_of(model, x), scores, labels, objective_of(model))


def _spoiled(reference: Reference, examples: int) -> np.ndarray:
    """The scores with the class of so many examples, found before, changed a little."""
    scores = reference.scores.copy()
    right = np.flatnonzero(scores.argmax(axis=1) == reference.labels)[:examples]
    best, second = np.sort(scores[right], axis=1)[:, -1], np.argsort(scores[right], axis=1)[:, -2]
    scores[right, second] = best + 1e-6
    return scores


def test_the_same_scores_pass(reference: Reference) -> None:
    verdict = judge(reference.scores, reference, "none")

    assert verdict.passed
    assert verdict.reason == ""
    assert verdict.accuracy == verdict.reported.reference_accuracy == pytest.approx(0.9)
    assert verdict.difference == 0
    assert verdict.reported.agreement == 1


def test_full_precision_may_not_move_an_output(reference: Reference) -> None:
    scale = np.abs(reference.scores).max()
    near, far = reference.scores + 5e-5 * scale, reference.scores + 2e-4 * scale

    assert judge(near, reference, "none").passed
    assert not judge(far, reference, "none").passed
    assert "outputs differ by" in judge(far, reference, "none").reason
    assert judge(far, reference, "float16").passed


@pytest.mark.parametrize(("quantize", "least"), [("dynamic", 1), ("int8", 1), ("codebook", 1)])
def test_accuracy_may_fall_by_one_example_of_few(
    reference: Reference, quantize: Any, least: int
) -> None:
    passing, failing = (
        judge(_spoiled(reference, examples), reference, quantize) for examples in (least, 3)
    )

    assert passing.passed
    assert not failing.passed
    assert failing.accuracy == pytest.approx(0.9 - 3 / 400)
    assert "accuracy 89.25 % against the model's 90.00 %" in failing.reason


def test_a_kernel_that_computes_something_else_fails_although_nothing_is_measured(
    reference: Reference,
) -> None:
    blind = dataclasses.replace(reference, labels=None)
    shuffled = reference.scores[:, ::-1]

    for plain in (
        [(shuffled, reference.scores, reference.scores)],
        [],
    ):  # with plain kernels, and without
        verdict = judge(shuffled, blind, "int8", plain)

        assert verdict.accuracy is None
        assert not verdict.passed
        assert "outputs differ by" in verdict.reason


def test_what_quantising_costs_on_random_inputs_is_told_and_decides_nothing(
    reference: Reference,
) -> None:
    """Outputs may hardly vary there, so that any difference is large against how they do."""
    still = np.float32([3, 1, 0, 0]) + 1e-3 * reference.scores
    blind = dataclasses.replace(reference, scores=still, labels=None)
    quantized = still + np.float32([-0.2, 0.1, 0.1, 0])

    verdict = judge(quantized, blind, "int8", [(quantized, quantized + 1e-3, still)])

    assert verdict.passed
    assert verdict.reported.spread > 50
    assert not judge(quantized, blind, "int8", [(quantized, quantized + 0.2, still)]).passed
    assert not judge(quantized, blind, "int8").passed  # nothing else vouches for it


def test_an_accuracy_that_is_enough_passes_whatever_the_model_has(reference: Reference) -> None:
    scores = _spoiled(reference, 40)  # one in ten gets another class
    wrong = scores + 0.5 * float(np.max(np.abs(scores)))

    verdict = judge(scores, reference, "int4", floor={ACCURACY: 0.79})

    assert verdict.passed and not judge(scores, reference, "int4").passed
    assert verdict.allowed_drop == {"accuracy": pytest.approx(0.9 - 0.79)}
    assert (
        "11 points less are allowed"
        in judge(0 * scores, reference, "int4", floor={ACCURACY: 0.79}).reason
    )
    assert judge(_spoiled(reference, 1), reference, "int4", floor={ACCURACY: 0.95}).passed
    plain = [(scores, wrong, reference.scores)]
    assert not judge(scores, reference, "codebook", plain, floor={ACCURACY: 0.79}).passed
    assert not judge(scores, reference, "float16", floor={ACCURACY: 0.79}).passed


def test_integers_may_round_elsewhere_as_far_as_rounding_moved_the_outputs(
    reference: Reference,
) -> None:
    """In many layers: a ResNet's outputs moved by 0.16 of the largest on noise."""
    scale = float(np.max(np.abs(reference.scores)))
    plain = reference.scores.copy()
    plain[0, 0] += 0.07 * scale
    found = reference.scores

    assert judge(found, reference, "int8", [(found, plain, reference.scores)]).passed
    assert not judge(found, reference, "int8", [(found, plain, plain)]).passed
    assert not judge(found, reference, "none", [(found, plain, reference.scores)]).passed
    plain += 0.07 * scale  # all of them: that is no rounding
    assert not judge(found, reference, "int8", [(found, plain, reference.scores)]).passed


@pytest.mark.parametrize("first", [0, 1])
def test_plain_kernels_that_give_no_numbers_vouch_for_nothing(
    reference: Reference, first: int
) -> None:
    """Be it in batches or one by one."""
    some, none = reference.scores[:8], np.full_like(reference.scores[:8], np.nan)
    plain = [(some, some, some), (some, none, some)]

    assert judge(reference.scores, reference, "int8", [plain[0], plain[0]]).passed
    assert not judge(reference.scores, reference, "int8", [plain[first], plain[1 - first]]).passed


@pytest.mark.parametrize("wrong", ["nothing", "noise"])
def test_garbage_does_not_pass_without_data(reference: Reference, wrong: str) -> None:
    """Whatever a broken encoder wrote, plain kernels make the same of it."""
    blind = dataclasses.replace(reference, labels=None)
    noise = np.random.default_rng(1).normal(size=reference.scores.shape).astype(np.float32)
    garbage = {"nothing": 0 * noise, "noise": noise}[wrong]

    verdict = judge(garbage, blind, "codebook", [(garbage, garbage, blind.scores)])

    assert not verdict.passed
    assert "nothing in common" in verdict.reason


def test_agreement_has_a_bound_although_accuracy_holds(reference: Reference) -> None:
    """As many right answers become wrong as wrong ones become right."""
    scores = reference.scores.copy()
    right = scores.argmax(axis=1) == reference.labels
    lost, won = np.flatnonzero(right)[:30], np.flatnonzero(~right)[:30]
    best = scores.max(axis=1) + 1e-6
    scores[lost, (reference.labels[lost] + 1) % 4] = best[lost]
    scores[won, reference.labels[won]] = best[won]

    verdict = judge(scores, reference, "int8")

    assert verdict.accuracy == verdict.reported.reference_accuracy
    assert verdict.reported.agreement == pytest.approx(1 - 60 / 400)
    assert not verdict.passed
    assert "get another class" in verdict.reason
    few = reference.scores.copy()
    few[lost[:5]], few[won[:5]] = scores[lost[:5]], scores[won[:5]]
    assert judge(few, reference, "int8").passed


def test_test_examples_report_and_decide_nothing(reference: Reference) -> None:
    verdict = judge(reference.scores, reference, "int8")
    swapped = dataclasses.replace(reference, labels=(reference.labels + 1) % 4)
    worse = _spoiled(reference, 100)

    told = report(verdict, worse, reference)

    assert told.passed and told.accuracy == pytest.approx(0.9 - 100 / 400)
    assert told.describe()["validation"]["accuracy"] == pytest.approx(0.9)
    assert report(verdict, worse, swapped).passed
    assert not report(verdict, worse * np.nan, reference).passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_fail_and_can_be_written(
    reference: Reference, value: float
) -> None:
    scores = reference.scores.copy()
    scores[3, 1] = value

    verdict = judge(scores, reference, "int4")

    assert not verdict.passed
    assert json.loads(json.dumps(verdict.describe(), allow_nan=False))["difference"] is None


def test_outputs_of_another_shape_fail(reference: Reference) -> None:
    verdict = judge(reference.scores[:, :3], reference, "none")

    assert not verdict.passed
    assert "(400, 3)" in verdict.reason


def test_examples_are_fed_in_their_order(reference: Reference) -> None:
    seen = []

    def predict(inputs: dict[str, np.ndarray]) -> np.ndarray:
        seen.append(inputs["row"])
        return inputs["row"][:, :4]

    scores = run(predict, ("row",), reference.only(np.arange(7)))

    np.testing.assert_array_equal(np.concatenate(seen), reference.x[:7])
    np.testing.assert_array_equal(scores, reference.x[:7, :4])


def test_the_spread_counts_differences_against_what_outputs_vary_by() -> None:
    expected = np.array([[0.0, 2.0], [4.0, 2.0]])

    assert spread(expected, expected) == 0
    assert spread(expected + np.std(expected), expected) == pytest.approx(1)


def test_a_file_that_gives_a_constant_for_each_class_fails(reference: Reference) -> None:
    """Although the classes lie so far apart that it always finds the right one."""
    apart = reference.scores + np.array([0, 20, 40, 60], np.float32)
    blind = Reference(reference.x, reference.feed, apart, None, reference.objective)
    constant = np.broadcast_to(apart.mean(axis=0), apart.shape)

    for plain in ([(constant, apart, apart)], []):
        verdict = judge(constant, blind, "int8", plain)

        assert verdict.reported.agreement == 1
        assert not verdict.passed


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_one_example_at_a_time_is_held_to_the_same(reference: Reference, quantize: Any) -> None:
    verdict = judge(reference.scores, reference, quantize)
    drawn = np.arange(3, 400, 8)
    first, part = reference.scores[drawn], reference.only(drawn)

    same = judge_single(verdict, first, first, part)
    larger = judge_single(verdict, 1.2 * first, first, part)

    assert same.passed
    assert not larger.passed
    assert larger.reason.startswith("one example at a time, outputs differ by")
