"""`compressor import`: a Keras 3 file that is proven, or nothing; and every command takes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import compressor as command
from old_models import bad_lambda, separable, write_h5

import compressor
from compressor.errors import (
    CheckFailedError,
    MissingRuntimeError,
    ModelError,
    RunDirectoryError,
    UsageError,
)
from compressor.importing import load_model, proof
from compressor.runtimes import keras2


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_h5(tmp_path / "old.h5", *separable())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, float], None]:
    """Let the original compute what the imported model does, and `more`."""

    def tell(path: Path, more: float = 0.0) -> None:
        model = load_model(path)

        def original(_: Path, __: Path, rounds: Any, *names: Any) -> Any:
            found = proof.outputs_of(model, rounds)
            return [[array + more for array in arrays] for arrays in found], "tf_keras 2"

        monkeypatch.setattr(proof, "_original", original)

    return tell


def test_a_file_that_is_proven(old: Path, told: Any, keras: Any, tmp_path: Path) -> None:
    told(old)
    record = compressor.import_model(old)

    made = tmp_path / "old.keras"
    assert record["output"] == str(made) and record["source"] == str(old)
    assert record["kind"] == "legacy HDF5 file" and record["parameters"] == 247
    assert record["difference"] == 0 and record["examples"] == 192
    assert json.loads(json.dumps(record)) == record
    x = np.ones((1, 6, 6, 2), np.float32)
    stock = keras.saving.load_model(made)
    np.testing.assert_array_equal(stock.predict_on_batch(x), load_model(old).predict_on_batch(x))


def test_nothing_is_written_that_is_not_proven(
    old: Path, told: Any, tmp_path: Path, rejected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(old, 0.01)
    out = tmp_path / "new.keras"
    message = rejected(CheckFailedError, compressor.import_model, old, out)
    assert "does not compute what tf_keras 2 does" in message and str(old) in message

    told(old, float("nan"))
    rejected(CheckFailedError, compressor.import_model, old, out)

    monkeypatch.undo()
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "empty"))
    message = rejected(MissingRuntimeError, compressor.import_model, old, out)
    assert "tf-keras is not installed" in message
    assert "compressor runtimes install tf-keras" in message
    assert [path.name for path in tmp_path.iterdir()] == ["old.h5"]


def test_where_it_may_write(old: Path, told: Any, tmp_path: Path, rejected: Any) -> None:
    told(old)
    there = tmp_path / "there.keras"
    there.write_bytes(b"mine")
    rejected(RunDirectoryError, compressor.import_model, old, there)
    assert there.read_bytes() == b"mine"
    assert "is a .keras file" in rejected(UsageError, compressor.import_model, old, "model.h5")
    compressor.import_model(old, there, force=True)
    assert "replace the model itself" in rejected(UsageError, compressor.import_model, there, there)


def test_a_model_in_memory_and_a_keras_file(small_net: Any, tmp_path: Path, rejected: Any) -> None:
    model = small_net()
    rejected(UsageError, compressor.import_model, model)
    record = compressor.import_model(model, tmp_path / "one.keras")
    again = compressor.import_model(tmp_path / "one.keras", tmp_path / "two.keras")

    assert record["source"] is None and record["kind"] == "model in memory"
    assert record["difference"] == again["difference"] == 0.0


def test_code_is_never_handed_to_tf_keras(tmp_path: Path, rejected: Any) -> None:
    config, weights = separable()
    for number, odd in enumerate(bad_lambda()):
        layers = [*config["config"]["layers"], odd]
        whole = {**config, "config": {**config["config"], "layers": layers}}
        path = write_h5(tmp_path / f"{number}.h5", whole, weights)
        message = rejected(ModelError, proof.check_code, path)
        assert "code" in message


needs_tf_keras = pytest.mark.skipif(
    bool(keras2.environment().missing()),
    reason="tf-keras is not installed: compressor runtimes install tf-keras",
)


@pytest.mark.slow
@needs_tf_keras
def test_tf_keras_proves_it(old: Path, tmp_path: Path) -> None:
    outcome = command("import", old, "-o", tmp_path / "new.keras", "--json")

    assert outcome.code == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    assert record["difference"] < 1e-5 and record["proven_by"].startswith("tf_keras 2")


@needs_tf_keras
@pytest.mark.slow
def test_tf_keras_reads_what_we_cannot(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compressor.importing import loading
    from compressor.importing.building import MismatchError

    expected = load_model(old)
    calls = []

    def model_of(source: Any) -> Any:
        calls.append(source)
        if len(calls) == 1:
            raise MismatchError("the weights of a layer do not fit it", value=old)
        return made(source)

    made = loading.model_of
    monkeypatch.setattr(loading, "model_of", model_of)
    loaded = load_model(old)

    assert len(calls) == 2 and b"DepthwiseConv2D" in calls[1].config
    for one, other in zip(loaded.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("words", [("export",), ("inspect",), ("shrink",), ("prune",), ("import",)])
def test_a_file_that_is_not_there(words: tuple[str, ...], tmp_path: Path) -> None:
    outcome = command(*words, tmp_path / "missing.keras")

    assert outcome.code == 2
    assert outcome.stderr.strip() == f"error: no such file: {tmp_path / 'missing.keras'}"


@pytest.mark.slow
def test_a_command_takes_it_whatever_its_name(old: Path, tmp_path: Path) -> None:
    named = old.rename(tmp_path / "model.bin")

    outcome = command("inspect", named, "--json")

    assert outcome.code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["kind"] == "dense" and found["parameters"] == 247
    assert found["file_bytes"] == named.stat().st_size
