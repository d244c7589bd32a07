"""The paper's experiment on the real MNIST, by the real command."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import compressor, compressor_alone, results_of

MIB = 2**20
KEPT = {
    0.1: (2_890_137, 9_215),
    0.3: (2_247_884, 7_167),
    0.5: (1_605_631, 5_119),
    0.7: (963_379, 3_071),
    0.8: (642_252, 2_047),
    0.9: (321_126, 1_023),
}
SIZES = {0.1: 66.5, 0.3: 51.8, 0.5: 37.1, 0.7: 22.3, 0.8: 14.9, 0.9: 7.6}
FC1_THRESHOLDS = {0.5: 0.06429165, 0.9: 0.14814831}


def _mib(path: Path) -> float:
    return path.stat().st_size / MIB


@pytest.mark.slow
def test_the_paper_s_numbers(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = compressor_alone("sweep", "--sparsities", "0.5,0.9", "--max-steps", "60", "-o", run)

    assert done.code == 0, done.stderr
    results = results_of(run)
    (dense,) = results["dense"]
    assert dense["accuracy"] > 0.9
    assert dense["parameters"] == 3_274_634
    assert _mib(run / "seed-0" / "step_1" / "model.keras") == pytest.approx(37.5, abs=0.1)
    assert [row["sparsity"] for row in results["proportions"]] == [0.5, 0.9]
    for row in results["proportions"]:
        sparsity = row["sparsity"]
        folder = run / "seed-0" / str(sparsity)
        assert tuple(layer["kept"] for layer in row["layers"]) == KEPT[sparsity]
        assert row["layers"][0]["threshold"] == pytest.approx(FC1_THRESHOLDS[sparsity], rel=0.1)
        assert _mib(folder / "step_3" / "sparse.npz") == pytest.approx(SIZES[sparsity], abs=0.1)
        assert _mib(folder / "step_2_2" / "model.keras") == pytest.approx(37.5, abs=0.1)
        assert row["sparse"]["accuracy"] == pytest.approx(row["retrained"]["accuracy"], abs=0.001)
        assert row["retrained"]["accuracy"] > 0.9
    for part, zeros in (("step_2_2", 3_211_264 - 321_126), ("step_3", 3_211_264 - 321_126)):
        described = compressor("inspect", run / "seed-0" / "0.9" / part, "--json").json()
        (fc1,) = [
            r for r in described["layers"] if (r["layer"], r["variable"]) == ("fc1", "kernel")
        ]
        assert fc1["zeros"] == zeros
    assert "7.6" in done.stdout
    noise = ("oneDNN", "absl", "cuda", "tensorflow", "WARNING", "I0000", "E0000", "W0000")
    assert not [word for word in noise if word in done.stderr]


@pytest.mark.slow
def test_the_quick_preset_reaches_the_paper_s_accuracies(tmp_path: Path) -> None:
    run = tmp_path / "run"
    subject = ["sweep", "--preset", "quick", "-o", run]

    # Longer than the patience with which the other commands are run.
    done = compressor_alone(*subject, patience=3600)

    assert done.code == 0, done.stderr
    results = results_of(run)
    (dense,) = results["dense"]
    assert dense["accuracy"] >= 0.99
    assert {row["sparsity"] for row in results["proportions"]} == set(KEPT)
    for row in results["proportions"]:
        assert tuple(layer["kept"] for layer in row["layers"]) == KEPT[row["sparsity"]]
        assert row["sparse"]["bytes"] / MIB == pytest.approx(SIZES[row["sparsity"]], abs=0.1)
        assert row["sparse"]["accuracy"] >= dense["accuracy"] - 0.003
