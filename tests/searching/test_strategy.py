"""What a search tries, and in which order, on made-up trials."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from compressor.searching import thinning
from compressor.searching.standard import Standard
from compressor.searching.strategy import SHARES, Settings, Strategy
from compressor.searching.trials import Budget, Trial
from deploy.tasks import REGRESSION, Head


class _MadeUpTrials:
    """Stands in for `Trials`: a model keeps the accuracy where it has enough weights."""

    def __init__(self, wide, enough, most):
        self.done, self._most = [], most
        self._wide, self._enough = wide, enough

    @property
    def may_go_on(self):
        return len(self.done) < self._most

    def model_of(self, trial):
        return Path("unused")

    def start(self, step, make):
        return self._trial((step,), step["widths"]["all"], step["widths"]["all"])

    def train(self, wanted, title):
        found = []
        for parent, step in wanted[: self._most - len(self.done)]:
            steps = (*(parent.steps if parent else ()), step)
            weights = parent.result["weights"] if parent else 10_000
            nonzeros = weights
            if step["kind"] == "sparse":
                nonzeros = round((1 - step["sparsity"]["all"]) * weights)
            found.append(self._trial(steps, weights, nonzeros))
            self.done.append(found[-1])
        return found

    def _trial(self, steps, weights, nonzeros):
        good = weights >= self._wide and nonzeros >= self._enough
        accuracy = 0.99 if good else 0.5 + 0.4 * nonzeros / 10_000
        result = {
            "weights": weights,
            "nonzeros": nonzeros,
            "kernel_bytes": nonzeros,
            "validation_accuracy": accuracy,
            "validation_loss": 1 - accuracy,
            "seconds": 1.0,
        }
        name = Trial("", (*steps, {}), Path("unused"), {}).parent
        return Trial(name, steps, Path("unused"), result)


@pytest.fixture
def strategy(monkeypatch):
    """A strategy on made-up trials, whose proposals cost exactly their share of 10,000 weights."""

    def make(trials):
        def kernels(self, trial):
            return {"all": np.zeros(10_000 if trial is None else trial.result["weights"])}

        monkeypatch.setattr(Strategy, "_kernels_of", kernels)
        sparsity = lambda kernels, count: {"all": 1 - count / kernels["all"].size}  # noqa: E731
        monkeypatch.setattr(thinning, "allocate", sparsity)
        monkeypatch.setattr(thinning, "least_bytes", lambda kernels: 0)

        def propose(share):
            return {"candidates": [{"widths": {"all": round(share * 10_000)}}]}

        asked = Standard.of_accuracy(0.98)
        settings = Settings("size", asked, epoch=10, weights=10_000, seed=0)
        return Strategy(trials, Budget(None, None), settings, propose, lambda step: None)

    return make


def test_the_weights_are_closed_in_on_the_fewest_that_keep_the_accuracy(strategy):
    trials = _MadeUpTrials(wide=1, enough=37, most=40)

    strategy(trials).run()

    held = [t.result["nonzeros"] for t in trials.done if t.result["validation_accuracy"] > 0.98]
    assert 37 <= min(held) <= 37 * 1.1


@pytest.mark.parametrize("shift", [0, 2])
def test_every_training_shifts_images_alike(strategy, shift):
    trials = _MadeUpTrials(wide=1, enough=37, most=20)
    made = strategy(trials)
    made._settings = dataclasses.replace(made._settings, shift=shift)

    made.run()

    steps = [step for trial in trials.done for step in trial.steps if step["kind"] != "narrow"]
    assert {step["kind"] for step in steps} == {"train", "sparse"}
    assert {step.get("shift", 0) for step in steps} == {shift}


def test_of_several_candidates_of_a_share_the_best_after_training_is_trained_on(strategy):
    trials = _MadeUpTrials(wide=100, enough=1, most=8)
    made = strategy(trials)
    made._propose = lambda share: {
        "candidates": [{"widths": {"all": round(share * 10_000) - n}} for n in (90, 9, 8)]
    }

    made.run()

    widths = [t.steps[0]["widths"]["all"] for t in trials.done]
    assert widths[:2] == [round(SHARES[0] * 10_000) - n for n in (90, 9)]
    assert set(widths[2:]) == {round(SHARES[0] * 10_000) - 9}


@pytest.mark.parametrize(("loss", "chosen"), [(0.022, 1), (0.03, 0)])
def test_of_two_candidates_about_as_good_the_one_with_more_weights_is_trained_on(
    strategy, loss, chosen
):
    widths = [100, 150]

    class Two(_MadeUpTrials):
        def _trial(self, steps, weights, nonzeros):
            found = super()._trial(steps, weights, nonzeros)
            found.result["validation_loss"] = 0.02 if weights == widths[0] else loss
            return found

    trials = Two(wide=1, enough=1, most=3)
    made = strategy(trials)
    made._propose = lambda share: {"candidates": [{"widths": {"all": width}} for width in widths]}

    made.run()

    assert trials.done[2].result["weights"] == widths[chosen]


def test_one_long_training_comes_before_the_first_weight_goes(strategy):
    trials = _MeasuredTrials(wide=1, enough=1, most=4)

    strategy(trials).run()

    kinds = [[step["kind"] for step in t.steps] for t in trials.done]
    assert kinds[1:3] == [["narrow", "train", "train"], ["narrow", "train", "train", "sparse"]]
    assert trials.steps[1] == 8 * trials.steps[0]


def test_where_narrow_models_fail_wider_ones_are_tried_and_the_dense_one_last(strategy):
    wide, dense = _MadeUpTrials(1_500, 1, 12), _MadeUpTrials(9_000, 1, 12)

    strategy(wide).run()
    strategy(dense).run()

    widths = [t.steps[0]["widths"]["all"] for t in wide.done]
    assert max(widths) == widths[-1] == round(10_000 / 6)
    assert [t.steps[0]["kind"] for t in dense.done][-1] == "sparse"


def test_what_was_only_narrowed_is_trained_for_the_latency_without_a_loss(strategy):
    """Nothing was measured of it yet."""

    class Started(_MadeUpTrials):
        def start(self, step, make):
            found = super().start(step, make)
            for key in ("validation_accuracy", "validation_loss"):
                del found.result[key]
            return found

    trials = Started(wide=1, enough=1, most=3)
    made = strategy(trials)
    made._settings = dataclasses.replace(made._settings, minimize="latency")

    made.run()

    assert len(trials.done) == 3


class _Judged(_MadeUpTrials):
    """The accuracy of a narrow model is what its width says; pruning costs nothing."""

    def __init__(self, accuracy):
        super().__init__(wide=1, enough=1, most=12)
        self._accuracy = accuracy

    def _trial(self, steps, weights, nonzeros):
        found = super()._trial(steps, weights, nonzeros)
        for share, accuracy in zip(SHARES, self._accuracy, strict=False):
            if weights == round(share * 10_000):
                found.result.update(validation_accuracy=accuracy, validation_loss=1 - accuracy)
        return found


@pytest.mark.parametrize(
    ("accuracy", "pruned"),
    [
        ([0.975], 1),  # 0.98 is asked for
        ([0.981], 0),
        ([0.975, 0.976, 0.981], 2),
        ([0.975, 0.976, 0.7, 0.7], 1),
    ],
)
def test_the_narrowest_that_holds_is_pruned_and_nothing_wider_is_trained_then(
    strategy, accuracy, pruned
):
    trials = _Judged(accuracy)

    strategy(trials).run()

    last = [t.steps[0]["widths"]["all"] for t in trials.done if t.steps[-1]["kind"] == "sparse"]
    assert set(last) == {round(10_000 * SHARES[pruned])}
    tried = max(len(accuracy), pruned + 1)
    assert {t.steps[0]["widths"]["all"] for t in trials.done} == {
        round(10_000 * share) for share in SHARES[:tried]
    }


class _Brittle(_MadeUpTrials):
    """Pruned, a model keeps the accuracy only if it is wide; to some its width costs accuracy."""

    def __init__(self, wide, worse=()):
        super().__init__(wide=1, enough=1, most=14)
        self._least, self._worse = wide, worse

    def _trial(self, steps, weights, nonzeros):
        found = super()._trial(steps, weights, nonzeros)
        if steps[-1]["kind"] == "sparse" and weights < self._least:
            found.result["validation_accuracy"] = 0.7
        elif weights in self._worse:
            found.result.update(validation_accuracy=0.96)
        return found


def _pruned(trials):
    """Widths and bytes of what was pruned, in order."""
    return [
        (t.steps[0]["widths"]["all"], t.result["kernel_bytes"])
        for t in trials.done
        if t.steps[-1]["kind"] == "sparse"
    ]


def test_a_wider_one_follows_where_the_narrowest_misses_its_first_target(strategy):
    narrow, wider = round(10_000 * SHARES[0]), round(10_000 * SHARES[1])
    trials = _Brittle(wider)

    strategy(trials).run()

    assert [width for width, _ in _pruned(trials)][:3] == [narrow, wider, wider]
    assert {width for width, _ in _pruned(trials)[1:]} == {wider}


def test_where_that_is_no_better_the_narrow_one_is_pruned_less(strategy):
    """A wider one is tried up to the size of the narrow one, which held as it was."""
    narrow, wider = round(10_000 * SHARES[0]), round(10_000 * SHARES[1])
    brittle, worse = _Brittle(wide=10_000), _Brittle(10_000, worse=[wider])

    for trials, widths in ((brittle, [narrow, wider, narrow]), (worse, [narrow])):
        strategy(trials).run()
        found = _pruned(trials)
        assert [width for width, _ in itertools.groupby(width for width, _ in found)] == widths
        own = [size for width, size in found if width == narrow]
        assert len(own) > 2 and own == sorted(set(own)) and own[-1] == narrow
        assert all(size <= narrow for _, size in found)


@pytest.mark.parametrize(("seconds", "trials", "widths"), [(49, 99, 1), (51, 99, 2), (99, 5, 1)])
def test_a_wider_one_is_not_begun_where_half_of_the_time_or_trials_is_gone(
    strategy, seconds, trials, widths
):
    found = _Brittle(wide=10_000)
    made = strategy(found)
    made._budget, made._find_stretch = Budget(100.0, trials), lambda trials: None
    made._budget.add(100 - seconds)

    made.run()

    assert len({width for width, _ in _pruned(found)}) == widths


def test_whether_to_begin_a_wider_one_is_decided_once(strategy):
    """A command that goes on after a kill has more time left than the one before."""
    found = _Brittle(wide=10_000)
    made = strategy(found)
    asked = []
    made._decided = lambda name, now: asked.append((name, now))

    made.run()

    assert asked == [("wider", True)]
    assert {width for width, _ in _pruned(found)} == {round(10_000 * SHARES[0])}


class _Taught(_Judged):
    """Narrow models lose accuracy unless they are trained in the way that suits them."""

    def __init__(self, accuracy, suits):
        super().__init__(accuracy)
        self._suits = suits

    def _trial(self, steps, weights, nonzeros):
        found = super()._trial(steps, weights, nonzeros)
        taught = steps[-1].get("distillation") is not None
        if steps[-1]["kind"] == "train" and taught != self._suits:
            found.result["validation_accuracy"] -= 0.001
        return found


@pytest.mark.parametrize(
    ("suits", "accuracy", "ways"),
    [
        (False, [0.986], [False, False]),
        (True, [0.9805], [False, False, True]),
        (False, [0.979, 0.986], [False, False, True, False, False]),
        (True, [0.979, 0.986], [False, False, True, False, False]),
    ],
)
def test_the_dense_model_teaches_only_where_the_labels_alone_are_not_enough(
    strategy, suits, accuracy, ways
):
    trials = _Taught(accuracy, suits)

    strategy(trials).run()

    narrow = [t.steps[-1] for t in trials.done if t.steps[-1]["kind"] == "train"]
    assert [step["distillation"] is not None for step in narrow] == ways
    best = next(t for t in trials.done if t.steps[-1]["kind"] == "sparse")
    assert (best.steps[-2]["distillation"] is not None) == ways[-1]
    assert best.steps[-1]["distillation"] is not None
    if ways[-1]:  # it goes on from what the labels alone made
        assert [step["kind"] for step in best.steps] == ["narrow", *["train"] * 3, "sparse"]


class _MeasuredTrials(_MadeUpTrials):
    """Remembers how many steps were trained; all models keep the accuracy."""

    def train(self, wanted, title):
        self.steps = [*getattr(self, "steps", []), *(step["steps"] for _, step in wanted)]
        return super().train(wanted, title)


@pytest.mark.parametrize(("minimize", "pace"), [("size", 1.0), ("latency", 0.3)])
def test_the_first_trainings_of_a_slow_model_fit_the_time(strategy, minimize, pace):
    """A sixteenth of the work takes at most so much of the dense model's second a step."""
    trials = _MeasuredTrials(wide=1, enough=1, most=3)
    made = strategy(trials)
    made._settings = dataclasses.replace(made._settings, minimize=minimize, pace=1.0)
    made._budget = Budget(600.0, None)

    made.run()

    assert 10 < pace * trials.steps[0] <= 121


def test_where_a_share_is_far_too_small_the_next_is_passed_over(strategy):
    """0.98 is asked for: 0.85 is wrong 7.5 times as often as allowed, 0.92 four times."""
    far, near = _Judged([0.85, 0.99, 0.981]), _Judged([0.92, 0.981])

    strategy(far).run()
    strategy(near).run()

    assert {t.result["weights"] for t in far.done} == {round(10_000 * SHARES[n]) for n in (0, 2)}
    assert {t.result["weights"] for t in near.done} == {round(10_000 * SHARES[n]) for n in (0, 1)}


def test_where_nearly_no_error_is_allowed_one_example_passes_nothing_over(strategy):
    """99 % is ten times the error that is allowed, and may be one example of a hundred."""
    trials = _Judged([0.99, 1.0])
    made = strategy(trials)
    made._settings = dataclasses.replace(made._settings, standard=Standard.of_accuracy(0.999))

    made.run()

    assert {t.result["weights"] for t in trials.done} == {round(10_000 * SHARES[n]) for n in (0, 1)}


def test_what_cannot_be_narrowed_so_is_narrowed_as_the_next_best(strategy):
    class Failing(_MadeUpTrials):
        def start(self, step, make):
            found = super().start(step, make)
            if step["widths"]["all"] == 100:
                found.result["error"] = "it does not compute what the model does"
            return found

    trials = Failing(wide=1, enough=1, most=3)
    made = strategy(trials)
    made._propose = lambda share: {
        "candidates": [{"widths": {"all": width}} for width in (100, 150, 120, 90)]
    }

    made.run()

    assert [t.result["weights"] for t in trials.done[:2]] == [150, 120]


def test_a_length_is_kept_and_each_training_has_its_own(strategy):
    made = strategy(_Judged([0.92]))
    made._budget, made._decided = Budget(600, None), {}.setdefault
    start = Trial("one", ({"steps": 40},), Path(), {"seconds": 4.0})

    labels = made._fitting(start, 8.0, "one-labels")
    made._budget.add(500)

    assert made._fitting(start, 8.0, "one-labels") == labels
    assert 0 < made._fitting(start, 8.0, "one-taught") < labels


def test_nothing_is_decided_once_time_has_ended(strategy):
    trials = _Judged([0.92, 0.94])
    made = strategy(trials)
    made._budget, asked = Budget(600, None), []
    made._stretch = 0.25
    made._decided = lambda name, now: asked.append(name) or now
    done = trials.train([(None, {"kind": "train", "steps": 100})], "")

    before = made._first_epochs(SHARES[1], done)
    made._budget.add(600)

    assert (before, made._first_epochs(SHARES[1], done)) == (2.0, 1.0)
    assert asked == ["first-0.050000"]


@pytest.mark.parametrize(("seconds", "steps"), [(600, 215), (200, 108)])
def test_a_first_training_is_not_cut_below_half_an_epoch_while_time_allows(
    strategy, seconds, steps
):
    """An epoch has 430 steps of 0.12 s. Of one that is cut less is asked: 0.94 is not hopeless."""

    class Slow(_Judged):
        def _trial(self, steps, weights, nonzeros):
            found = super()._trial(steps, weights, nonzeros)
            found.result["seconds"] = 0.12 * steps[-1].get("steps", 0)
            return found

    trials = Slow([0.92, 0.94, 0.985])
    made = strategy(trials)
    made._budget = Budget(seconds, None)

    made.run()

    second = [t for t in trials.done if t.result["weights"] == round(10_000 * SHARES[1])]
    trained = [t.steps[-1]["steps"] for t in second if t.steps[-1]["kind"] == "train"]
    assert trials.done[0].steps[-1]["steps"] == 430
    assert trained[0] == steps and max(trained) > steps


def test_a_long_training_leaves_time_for_what_follows(strategy):
    class Slow(_MeasuredTrials):
        def _trial(self, steps, weights, nonzeros):
            found = super()._trial(steps, weights, nonzeros)
            found.result["seconds"] = 0.2 * steps[-1].get("steps", 0)
            return found

    trials = Slow(wide=1, enough=1, most=2)
    made = strategy(trials)
    made._budget, made._find_stretch = Budget(600.0, None), lambda trials: None

    made.run()

    # 492 s are left for trials, and 8 times the first training would take 688 s.
    assert trials.steps[1] * 0.2 == pytest.approx(688 / 4)


def test_a_search_ends_where_nothing_new_is_left(strategy):
    class Repeating(_MadeUpTrials):
        """Every model is the one that was done before, after the first."""

        def train(self, wanted, title):
            return [self.done[0]] if self.done else super().train(wanted[:1], title)

    for minimize in ("size", "latency"):
        trials = Repeating(wide=1, enough=1, most=40)
        made = strategy(trials)
        made._settings = dataclasses.replace(made._settings, minimize=minimize)

        made.run()

        assert len(trials.done) == 1


def test_an_error_is_closed_in_on_as_an_accuracy_is(strategy):
    class Errors(_MadeUpTrials):
        def _trial(self, steps, weights, nonzeros):
            found = super()._trial(steps, weights, nonzeros)
            found.result["validation_mean_absolute_error"] = 100 * found.result["validation_loss"]
            del found.result["validation_accuracy"]
            return found

    head = Head("", REGRESSION, (1,))
    by_error = Standard((head,), {}, {"mean_absolute_error": 2.0})
    found = [Errors(wide=1, enough=37, most=40), _MadeUpTrials(wide=1, enough=37, most=40)]

    for trials in found:
        made = strategy(trials)
        if trials is found[0]:
            made._settings = dataclasses.replace(made._settings, standard=by_error)
        made.run()

    tried = [[trial.result["nonzeros"] for trial in trials.done] for trials in found]
    assert tried[0] == tried[1] and min(tried[0]) <= 37
