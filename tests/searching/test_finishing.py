"""The artefacts of a search on made-up exports: which models and variants are considered."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from compressor.data import TrainingData
from compressor.errors import CompressorError, ModelError
from compressor.foundation import SilentListener
from compressor.remote import SshHost
from compressor.searching import Goal, finishing
from compressor.searching.standard import Standard
from compressor.searching.trials import Trial

NONE, INT8 = ("none", 1000, 0.99, 1.0), ("int8", 300, 0.98, 3.0)
POOR = ("none", 10, 0.5, 1.0)
"""quantisation, bytes, validation accuracy and milliseconds of a variant"""
RUNTIME = ("onnxruntime",)


class _Content(float):
    """The bytes of a file, of which only the latency counts."""

    def __len__(self):
        return 1000


class _Job(contextlib.AbstractContextManager):
    """Stands in for `ExportJob`: the variants that it has by the name of the model."""

    variants: dict
    splits: list
    floors: list
    floor = None

    def __init__(self, model, data, *, threads, validation, choose_on=None, metric=None):
        self.found = self.variants[Path(model).name]
        self.splits.append((validation, choose_on))
        self.processes = SimpleNamespace(pause=lambda: None)
        self.test = SimpleNamespace(own_values={"accuracy": 0.97, "mean_recall": 0.96})

    def __exit__(self, *_):
        self.floors.append(self.floor)

    def timed_on(self, file):
        return {}

    def build(self, file_format, request):
        raise CompressorError("an operation that it does not know")


class _Variants:
    """Stands in for `Variants`: the best is the smallest, or the fastest."""

    def __init__(self, job, file_format, runtime, optimize, encoding, listener, host=None):
        self._job, self._optimize = job, optimize

    def best(self):
        measure = 1 if self._optimize == "size" else 3
        return self.one(min(self._job.found, key=lambda variant: variant[measure])[0])

    def one(self, quantize):
        found = [v for v in self._job.found if v[0] == quantize]
        if not found:
            raise ModelError("no such variant")
        _, size, accuracy, latency = found[0]
        values = {"accuracy": accuracy}
        return SimpleNamespace(
            request=SimpleNamespace(runtime="onnxruntime", quantize=quantize, optimize="size"),
            format="onnx",
            size=size,
            file=SimpleNamespace(content=_Content(latency), data={}),
            verdict=SimpleNamespace(passed=True, chosen_on=SimpleNamespace(values=values)),
        )


class _Recipe:
    def with_export(self, row, digest):
        return self

    def describe(self):
        return {}


@pytest.fixture
def finish(tiny_data, tmp_path, monkeypatch):
    """What `finish` makes of trials with these variants, and at last the dense model's."""

    def write(job, checked, path):
        path.write_text("")
        return {"verdict": {"accuracy": 0.9}}

    monkeypatch.setattr(finishing, "ExportJob", _Job)
    monkeypatch.setattr(finishing, "Variants", _Variants)
    monkeypatch.setattr(finishing, "write_artifact", write)
    monkeypatch.setattr(
        finishing, "median_latencies", lambda contents, runtime, rounds: np.array([contents])
    )
    monkeypatch.setattr(_Job, "splits", [], raising=False)
    monkeypatch.setattr(_Job, "floors", [], raising=False)

    def make(goal, *trials, dense=(), may_go_on=True, host=None, retrained=True):
        monkeypatch.setattr(
            _Job, "variants", {f"{n}": t for n, t in enumerate((*trials, dense))}, raising=False
        )
        steps = [({"kind": "train"},)] * len(trials) + [()]
        chosen = [
            (Trial(f"trial-{n}", step, Path(), {"nonzeros": 5}), Path(str(n)))
            for n, step in enumerate(steps)
        ]
        return finishing.finish(
            tmp_path,
            {"onnxruntime": _Content(4.0)},
            chosen,
            TrainingData.of(tiny_data, 30),
            goal,
            Standard.of_accuracy(0.95),
            lambda trial: _Recipe(),
            threads=1,
            listener=SilentListener(),
            host=host,
            may_go_on=lambda: may_go_on,
            retrained=retrained,
        )

    return make


def _recommended(found):
    return found["recommended"]["onnxruntime"]


def test_a_limit_of_the_latency_chooses_the_variant(finish):
    free = finish(Goal(runtimes=RUNTIME), [NONE, INT8], dense=[NONE])
    limited = finish(Goal(max_latency_ms=2, runtimes=RUNTIME), [NONE, INT8], dense=[NONE])

    assert _recommended(free) == "trial-0-onnxruntime-int8.onnx"
    assert _recommended(limited) == "trial-0-onnxruntime-none.onnx"


def test_a_limit_of_the_bytes_chooses_the_variant(finish):
    goal = Goal("latency", max_bytes=500, runtimes=RUNTIME)

    found = finish(goal, [NONE, INT8], dense=[NONE])

    assert _recommended(found) == "trial-0-onnxruntime-int8.onnx"


def test_the_dense_model_is_the_last_candidate_without_a_recipe(finish, tmp_path):
    found = finish(Goal(runtimes=RUNTIME), [POOR], [POOR], dense=[NONE, INT8], may_go_on=False)

    assert _recommended(found) == "trial-2-onnxruntime-int8.onnx"
    assert found["cut"] and len(found["front"]) == 2
    assert len(list(tmp_path.glob("*.recipe.json"))) == 1


def test_without_time_the_first_that_keeps_the_accuracy_is_enough(finish):
    cut = finish(Goal(runtimes=RUNTIME), [NONE], [INT8], dense=[NONE], may_go_on=False)
    whole = finish(Goal(runtimes=RUNTIME), [NONE], [INT8], dense=[NONE])

    assert cut["cut"] and _recommended(cut) == "trial-0-onnxruntime-none.onnx"
    assert not whole["cut"] and _recommended(whole) == "trial-1-onnxruntime-int8.onnx"


def test_artefacts_are_judged_on_the_examples_that_the_search_set_aside(finish):
    finish(Goal(runtimes=RUNTIME), [POOR], dense=[NONE])

    # None of the training examples, which what was retrained knows, is added to them.
    assert _Job.splits == [(30, 0), (30, 0)]


def test_the_dense_model_is_judged_on_the_test_examples_by_what_decides(finish):
    found = finish(Goal(runtimes=RUNTIME), [NONE], dense=[NONE])

    late = finish(Goal(runtimes=RUNTIME), [NONE], dense=[NONE], may_go_on=False)

    assert found["test"] == {"accuracy": 0.97}
    assert late["front"] and late["test"] == {}


def test_the_dense_model_is_not_exported_where_a_smaller_one_keeps_the_accuracy(finish):
    found = finish(Goal(runtimes=RUNTIME), [POOR], [NONE], dense=[INT8])

    assert _recommended(found) == "trial-1-onnxruntime-none.onnx"
    assert {row["trial"] for row in found["front"]} == {"trial-0", "trial-1"}
    # The third is the dense model, for its accuracy on the test examples.
    assert len(_Job.splits) == 3 and not found["cut"]


def test_the_dense_model_competes_with_what_was_not_retrained(finish):
    goal = Goal(runtimes=RUNTIME)
    poor_and_small = ("int4", 100, 0.96, 1.0)

    found = finish(goal, [NONE], dense=[poor_and_small], retrained=False)
    cut = finish(goal, [NONE], dense=[poor_and_small], retrained=False, may_go_on=False)

    assert _recommended(found) == "trial-1-onnxruntime-int4.onnx" and not found["cut"]
    assert _recommended(cut) == "trial-0-onnxruntime-none.onnx" and cut["cut"]


def test_a_latency_that_differs_by_noise_keeps_nothing_on_the_front(finish):
    larger, slower = ("none", 1000, 0.96, 0.98), ("float16", 1000, 0.96, 1.1)
    best = ("int8", 300, 0.97, 1.0)
    goal = Goal("latency", runtimes=RUNTIME)

    found = finish(goal, [larger], [best], [best], [slower], dense=[NONE])

    rows = [row for row in found["front"] if row["file"] != _recommended(found)]
    assert {row["file"] for row in rows} == {f"trial-{n}-onnxruntime-int8.onnx" for n in (1, 2)}


def test_variants_are_held_against_the_goal(finish):
    finish(Goal(runtimes=RUNTIME), [NONE], dense=[NONE])

    assert _Job.floors == 2 * [{"accuracy": 0.95}]


def test_a_model_that_cannot_be_exported_is_refused_at_once(
    finish, tiny_data, tmp_path, monkeypatch, rejected
):
    monkeypatch.setattr(_Job, "variants", {"x": []}, raising=False)
    part = TrainingData.of(tiny_data, 30)

    message = rejected(ModelError, finishing.dense_files, tmp_path, Path("x"), part, Goal(), None)

    assert "cannot be exported to" in message and "--format" in message


def test_a_limit_of_the_ram_chooses_the_variant(finish, monkeypatch):
    """The smallest one needs more than is allowed, and says so where it is alone."""
    ram = {4.0: 900, 1.0: 500, 3.0: 700}
    monkeypatch.setattr(
        finishing, "peak_memories", lambda contents, runtime: [ram[content] for content in contents]
    )
    goal = Goal(min_accuracy=0.9, max_ram=600, runtimes=RUNTIME)

    found = finish(goal, [NONE, INT8], dense=[INT8])
    alone = finish(goal, [INT8], dense=[INT8])

    assert "none" in _recommended(found)
    assert [row["ram_bytes"] for row in found["front"] if "none" in row["file"]] == [500]
    assert "700 bytes of RAM, 600 are allowed" in alone["reasons"]["onnxruntime"]


def test_a_host_measures(finish, monkeypatch):
    asked = []

    def times(contents, runtime, rounds, host):
        asked.append(host.name)
        return np.array([contents])

    monkeypatch.setattr(finishing, "median_latencies", times)
    goal = Goal(min_accuracy=0.9, runtimes=RUNTIME)

    found = finish(goal, [INT8], dense=[INT8], host=SshHost("pi@device"))

    assert asked == ["pi@device"] and found["front"]
