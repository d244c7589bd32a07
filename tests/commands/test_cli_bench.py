"""The bench command as a user types it."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from command_line import compressor, compressor_alone, signal_when, start

from compressor.report.bench_terminal import table_text

QUICK = ("--rounds", 3, "--round-seconds", 0.01, "--starts", 1)


def test_it_prints_a_table_the_fastest_and_the_conditions(artefacts, tiny_file, tmp_path) -> None:
    output = tmp_path / "results.json"

    outcome = compressor("bench", artefacts, "--data", tiny_file, "-o", output, *QUICK)

    assert outcome.code == 0, outcome.stderr
    text = outcome.stdout
    assert "1 thread, batch 1" in text
    rows = [line for line in text.splitlines() if line.startswith("small.tflite")]
    # Where the machine says so, it is slower than the first, too.
    assert len(rows) == 2 and rows[0].rstrip().endswith(("right", "right, slower"))
    size = f"{(artefacts / 'small.tflite').stat().st_size:,}"
    assert size in rows[0] and "±" in rows[0]
    assert "fastest: " in text and f"smallest: small.tflite, {size} bytes" in text
    assert "machine: " in text and "pinned to CPU" in text and "bootstrap" in text
    assert text.splitlines()[-1] == f"appended to: {output}"
    assert "small.onnx in onnxruntime: start, warm up, check" in outcome.stderr
    assert max(map(len, text.split("machine: ")[0].splitlines())) <= 130


@pytest.mark.slow
def test_a_wrong_row_is_marked_red_never_fastest_and_ends_in_exit_code_1(
    artefacts, tiny_file, tmp_path
) -> None:
    folder = Path(shutil.copytree(artefacts, tmp_path / "changed"))
    for name in ("float.tflite", "small.tflite"):
        path = folder / f"{name}.json"
        content = json.loads(path.read_text())
        content["verified"][0]["accuracy"] = 0.5
        path.write_text(json.dumps(content))

    outcome = compressor("bench", folder, "--data", tiny_file, *QUICK)

    assert outcome.code == 1
    assert outcome.stderr.splitlines()[-1] == "error: rows failed or are wrong: 2 of 3"
    reasons = [line for line in outcome.stdout.splitlines() if "WRONG: accuracy" in line]
    assert len(reasons) == 2 and all("50.00 %" in line for line in reasons)
    run = json.loads((folder / "bench.json").read_text())["runs"][0]
    table = table_text(run, run["rows"])
    red = [line for line in table.splitlines() if line.startswith("\x1b[31m")]
    # On a terminal: both rows of both tables, and both reasons.
    assert len(red) == 6 and not any("small.onnx" in line for line in red)
    assert "fastest: small.onnx" in outcome.stdout and "smallest: small.onnx" in outcome.stdout
    assert (folder / "bench.json").is_file()


@pytest.mark.slow
def test_json_is_the_run_that_was_kept(artefacts, tiny_file, tmp_path) -> None:
    output = tmp_path / "b.json"

    outcome = compressor(
        *(
            "bench",
            artefacts / "small.onnx",
            "--data_dir",
            tiny_file,
            "-o",
            output,
            "--json",
            *QUICK,
        )
    )

    assert outcome.json() == json.loads(output.read_text())["runs"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.onnx",), "no such file: missing.onnx"),
        (("{}", "--runtime", "cobol"), "cobol; choose from litert"),
        (("{}", "--threads", "4096"), "4096"),
        (("{}", "--threads", "two"), "'two' is not a list of numbers"),
        (("{}", "--batch", "0"), "a batch holds 1 to"),
        (("{}", "--batch", "100000000"), "a batch holds 1 to"),
        (("{}", "--threads", ","), "--threads names no number"),
        (("{}", "--data", "missing"), "missing"),
        (("{}", "--rounds", "0"), "--rounds"),
        (("{}", "--time-limit", "-1"), "time limit"),
        ((), "ARTEFACT"),
    ],
)
def test_bad_input_is_one_line(artefacts, arguments, said) -> None:
    refusal = compressor("bench", *(word.format(artefacts) for word in arguments)).refusal()

    assert said in refusal
    assert not (artefacts / "bench.json").exists()


@pytest.mark.parametrize("runtime", ["cuda", "tensorrt"])
def test_a_gpu_that_is_not_there_is_exit_code_3_and_no_number(artefacts, tmp_path, runtime) -> None:
    output = tmp_path / "b.json"

    outcome = compressor("bench", artefacts / "small.onnx", "--runtime", runtime, "-o", output)

    if outcome.code == 0:
        pytest.skip("there is a GPU here")
    assert outcome.code == 3 and outcome.stdout == "" and not output.exists()
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("error: ") and runtime in line.lower()


@pytest.mark.slow
@pytest.mark.race
def test_ctrl_c_keeps_the_tables_that_are_done(artefacts, tiny_file, tmp_path) -> None:
    output = tmp_path / "bench.json"
    process = start(
        *("bench", artefacts / "float.tflite", "--data", tiny_file, "-o", output),
        *("--rounds", 20, "--round-seconds", 0.1, "--starts", 1, "--batch", "1,2"),
    )

    outcome = signal_when(process, output.exists, signal.SIGINT)

    assert outcome.code == 130
    assert outcome.stderr.splitlines()[-1].startswith(
        "interrupted; finished measurements are kept in"
    )
    assert "Traceback" not in outcome.stderr
    (run,) = json.loads(output.read_text())["runs"]
    assert run["interrupted"]
    assert run["rows"][0]["latency_ms"]["rounds"] == 20 and run["rows"][0]["batch"] == 1
    assert "1 thread, batch 1" in outcome.stdout


@pytest.mark.slow
def test_it_needs_no_tensorflow(artefacts, tmp_path) -> None:
    """A program that refuses to import it, and measures all the same."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['tensorflow'] = None\n")
    command = ("env", f"PYTHONPATH={tmp_path}")

    outcome = compressor_alone(
        *("bench", artefacts / "small.onnx", "-o", tmp_path / "b.json", *QUICK), before=command
    )

    assert outcome.code == 0, outcome.stderr
