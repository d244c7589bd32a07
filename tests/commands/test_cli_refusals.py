"""Bad options: one line, exit code 2, and nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import compressor, compressor_alone


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new working directory, so that anything written is seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("sweep --sparsities 1.0", "below 1: 1.0"),
        ("sweep --sparsities nan", "below 1: nan"),
        ("sweep --sparsities inf", "below 1: inf"),
        ("sweep --sparsities 0.5,-0.1", "below 1: -0.1"),
        ("sweep --sparsities 0.5,0.5", "[0.5, 0.5]"),
        ("sweep --sparsities 0.5;0.9", "'0.5;0.9' is not a list of numbers"),
        ("sweep --sparsities ninety", "'ninety' is not a list of numbers"),
        ("sweep --sparsities ,", "sparsities must be given"),
        ("sweep --seeds 0,1,0", "seeds must be given, and differ: [0, 1, 0]"),
        ("sweep --seeds -1", "seed must be at least 0"),
        ("sweep --seeds 4294967296", "4294967296"),
        ("sweep --seeds 1.5", "'1.5' is not a list of numbers"),
        ("sweep --layers w_fc3", "w_fc3; choose from w_conv1, w_conv2, w_fc1, w_fc2, or all"),
        ("sweep --layers fc1,fc1", "layers must be given, and differ"),
        ("sweep --max-steps 0", "--max-steps"),
        ("sweep --max-steps ten", "'ten' is not a valid integer"),
        ("sweep --batch-size -32", "--batch-size"),
        ("sweep --learning-rate fast", "'fast' is not a valid float"),
        ("sweep --learning-rate nan", "learning rate must lie between 0 and 10: nan"),
        ("sweep --learning-rate 0", "learning rate must lie between 0 and 10: 0.0"),
        ("sweep --validation 0", "--validation"),
        ("sweep --validation 600", "600 of 600 images"),
        ("sweep --threads 0", "--threads"),
        ("sweep --preset slow", "'slow' is not one of 'quick', 'paper'"),
        ("sweep --sparsity 0.9", "No such option"),
        ("sweep extra", "unexpected extra argument"),
        ("train -4", "No such option"),
        ("train -1 --sparse_ratio 1", "below 1: 1.0"),
        ("train -1 --sparse_ratio most", "'most' is not a valid float"),
        ("train -1 --pruning_variable_names w_fc", "w_fc; choose from"),
        ("train -1 --seed -1", "--seed"),
        ("train --max_steps", "--max-steps"),
        ("prune", "Missing argument 'MODEL'"),
        ("prune missing.keras", "missing.keras"),
        ("prune missing.keras --sparsity nan", "below 1: nan"),
        ("sparsify missing", "missing"),
        ("evaluate", "Give one checkpoint"),
        ("evaluate a --checkpoint-dir b", "Give one checkpoint"),
        ("evaluate missing", "no such file: missing"),
        ("inspect missing", "no such file: missing"),
        ("runner --key k.pub", "the runner needs one destination: give -o or --host"),
        ("deploy --host pi --remove", "--remove needs a BUNDLE: none is given"),
        ("deploy --host pi --rollback", "--rollback needs a BUNDLE: none is given"),
        (
            "deploy b --host pi --rollback --remove",
            "options exclude each other: --rollback and --remove",
        ),
        ("runner --key k.pub --python x", "the --ssh options need --host: none is given"),
        ("frobnicate", "No such command 'frobnicate'"),
    ],
)
def test_a_bad_option(here: Path, quadrants: Path, words: str, says: str) -> None:
    no_data = ("inspect", "runner", "deploy", "frobnicate")
    data = [] if words.split()[0] in no_data else ["--data", quadrants]

    assert says in compressor(*words.split(), *data).refusal()
    assert list(here.iterdir()) == []


def test_data_that_cannot_be_used(here: Path) -> None:
    (here / "text").write_text("no data")
    (here / "text.npz").write_text("no data")
    (here / "empty").mkdir()
    labels = np.arange(48, dtype=np.uint8) % 4
    for name, shape in (("rows", (20,)), ("small", (2, 2))):
        images = np.zeros((48, *shape), np.uint8)
        np.savez(here / f"{name}.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    np.savez(here / "labels.npz", y_train=labels, y_test=labels)
    before = sorted(here.rglob("*"))

    for name, says in {
        "missing": "does not exist",
        "text": "the file holds no data set that is known",
        "text.npz": "text.npz",
        "empty": "holds no data set",
        "rows.npz": "the paper's CNN takes images",
        "small.npz": "too small",
        "labels.npz": "x_train",
    }.items():
        for words in (["sweep", "-o", here / "run"], ["train", "-1", "--train-dir", here / "run"]):
            assert says in compressor(*words, "--data", here / name).refusal()
            assert sorted(here.rglob("*")) == before


def test_the_exit_code_of_the_real_command(here: Path) -> None:
    outcome = compressor_alone("sweep", "--sparsities", "1.0")

    assert "below 1: 1.0" in outcome.refusal()
    assert list(here.iterdir()) == []


def test_no_command_shows_the_help() -> None:
    outcome = compressor_alone()

    assert "\n  prune  " in outcome.stdout + outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_name_that_no_file_can_have() -> None:
    assert "name too long" in compressor("inspect", "x" * 300).refusal().lower()


def test_a_full_disk_behind_standard_output() -> None:
    script = Path(sys.executable).with_name("compressor")
    with open("/dev/full", "w") as full:
        done = subprocess.run([script, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["error: No space left on device: standard output"]


@pytest.mark.parametrize("size", ["64xx64", "image=64,32", "a=1,a=2", "64x-", ""])
def test_a_size_that_is_none_is_refused(tmp_path: Path, size: str) -> None:
    message = compressor("export", tmp_path / "m.keras", "--input-size", size).refusal()

    assert "224x224" in message
