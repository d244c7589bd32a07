"""The export command as a user types it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from command_line import compressor, signal_when, start
from stock_runtimes import run_artefact

from compressor import runtimes
from compressor.data import Dataset
from compressor.models.files import load_model
from compressor.runtimes.runner import Runner


@pytest.fixture
def data_file(tiny_data: Dataset, tmp_path: Path) -> Path:
    import numpy as np

    path = tmp_path / "data" / "quarters.npz"
    path.parent.mkdir()
    np.savez(
        path,
        x_train=tiny_data.x_train,
        y_train=tiny_data.y_train,
        x_test=tiny_data.x_test,
        y_test=tiny_data.y_test,
    )
    return path


def test_it_prints_the_encoding_of_each_tensor_and_the_verdict(
    pruned_file: Path, data_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"

    outcome = compressor("export", pruned_file, "--data", data_file, "-o", path)

    assert outcome.code == 0, outcome.stderr
    (row,) = [line.split() for line in outcome.stdout.splitlines() if "wide/kernel" in line]
    assert row[3] in ("golomb", "gap8", "gap4", "bitmask")
    assert row[4] == "float32"
    assert int(row[5].replace(",", "")) < int(row[6].replace(",", ""))
    assert f"{path.stat().st_size:,} bytes" in outcome.stdout
    assert "onnxruntime" in outcome.stdout
    assert "right, accuracy" in outcome.stdout
    assert f"written to: {path}" in outcome.stdout


@pytest.mark.slow
def test_json_is_the_record_of_the_python_call(
    pruned_file: Path, data_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.tflite"

    record = compressor(*("export", pruned_file, "--data", data_file, "-o", path, "--json")).json()

    assert record["bytes"] == path.stat().st_size
    assert record["verdict"]["passed"] is True
    assert {tensor["name"] for tensor in record["tensors"]} >= {"wide/kernel", "conv/kernel"}


@pytest.mark.slow
def test_all_makes_a_table_and_a_folder(pruned_file: Path, data_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "all"

    outcome = compressor(
        *("export", pruned_file, "--data", data_file, "--format", "all", "-o", folder, "--json")
    )

    rows = json.loads(outcome.stdout)
    written = {Path(row["path"]) for row in rows if "error" not in row}
    assert written == {*folder.glob("*.tflite"), *folder.glob("*.onnx")}
    assert len(rows) == 14
    failed = [row for row in rows if row.get("exit_code") == 1]
    assert outcome.code == (1 if failed else 0)
    for path in written:
        with Runner("litert" if path.suffix == ".tflite" else "onnxruntime") as runner:
            runner.load(path)
            assert runner.check(path.with_name(f"{path.name}.check.npz"))["passed"]


@pytest.mark.slow
@pytest.mark.race
def test_ctrl_c_leaves_nothing_half_written(
    pruned_file: Path, data_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    process = start(*("export", pruned_file, "--data", data_file, "--format", "all", "-o", folder))

    outcome = signal_when(process, folder.is_dir, signal.SIGINT)

    assert outcome.code == 130, outcome.stderr
    assert "Traceback" not in outcome.stderr
    for path in folder.iterdir():
        assert not path.name.startswith(".")
        assert path.name.endswith((".tflite", ".onnx", ".json", ".check.npz"))


@pytest.mark.slow
def test_an_artefact_for_tflite_runtime_is_right_there(
    pruned_file: Path, data_file: Path, tmp_path: Path
) -> None:
    if runtimes.state("tflite-runtime").version is None:
        pytest.skip(f"tflite-runtime {runtimes.state('tflite-runtime').reason}")

    for quantize in ("none", "float16", "dynamic", "int8", "int4"):
        path = tmp_path / f"{quantize}.tflite"
        record = compressor(
            *("export", pruned_file, "--data", data_file, "--for", "tflite-runtime"),
            *("--quantize", quantize, "-o", path, "--json"),
        ).json()
        assert record["runtime"] == "tflite-runtime"
        assert record["runtime_version"] == "2.14.0"
        assert record["verdict"]["passed"]


def test_a_sparse_initializer_is_read_by_onnx(
    pruned_file: Path, data_file: Path, tiny_data: Dataset, tmp_path: Path
) -> None:
    import numpy as np
    import onnx

    path = tmp_path / "sparse.onnx"

    outcome = compressor(
        *("export", pruned_file, "--data", data_file, "-o", path),
        *("--encoding", "sparse-initializer"),
    )

    assert outcome.code == 0, outcome.stderr
    onnx.checker.check_model(onnx.load(path), full_check=True)
    x = (tiny_data.x_test.astype(np.float32) / 255)[..., None]
    expected = np.asarray(load_model(pruned_file).predict_on_batch(x))
    np.testing.assert_allclose(run_artefact(path, {"quarters": x}), expected, atol=1e-4)


@pytest.mark.slow
def test_int8_of_a_model_without_data(small_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    asked = ("export", small_file, "--quantize", "int8", "-o", path)

    refused = compressor(*asked)
    outcome = compressor(*asked, "--input-range", "-3,3")

    assert refused.code == 2
    assert "--input-range LOW,HIGH" in refused.stderr.splitlines()[-1]
    assert outcome.code == 0, outcome.stderr
    assert "note: Calibrated on made-up inputs between -3 and 3: give data" in outcome.stdout


@pytest.mark.parametrize("given", ["a,b", "3,1", "nan,1", "0,inf", "5", "1,2,3"])
def test_a_range_that_is_none_is_refused(small_file: Path, tmp_path: Path, given: str) -> None:
    path = tmp_path / "m.tflite"

    message = compressor("export", small_file, "-o", path, "--input-range", given).refusal()

    assert "numbers" in message
    assert list(tmp_path.iterdir()) == []
