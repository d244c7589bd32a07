"""Runtimes in processes of their own: right answers, and one line for whatever goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import runnable_files

from compressor import runtimes
from compressor.errors import CheckFailedError, MissingRuntimeError, UsageError
from compressor.runtimes import registry
from compressor.runtimes.runner import Runner
from deploy import CheckVectors


@pytest.fixture
def onnx_file(tmp_path):
    """An ONNX file, inputs for it, and the scores that it must give."""
    path = tmp_path / "two inputs\n.onnx"
    table, kernel = runnable_files.write_onnx(path)
    image = np.random.default_rng(4).random((9, 6), np.float32)
    tokens = np.arange(9) % 5
    return path, {"image": image, "tokens": tokens}, table[tokens] + image @ kernel


@pytest.fixture
def in_place(monkeypatch, tmp_path):
    """Put a Python program in the place of the runtime's process."""

    def put(program: str) -> None:
        path = tmp_path / "python"
        # Unbuffered, and with the pyz as its argument, as the runner is started.
        path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{program}\n")
        path.chmod(0o755)
        monkeypatch.setattr(registry, "python_of", lambda name: str(path))

    return put


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_an_artefact_is_loaded_run_checked_and_timed(onnx_file, tmp_path) -> None:
    path, inputs, expected = onnx_file
    (tmp_path / "check.npz").write_bytes(CheckVectors(inputs, expected, 1e-4).to_bytes())
    with Runner("onnxruntime", threads=2) as runner:
        facts = runner.load(path)
        for batch in (1, 4, 100):
            found = runner.predict(inputs, batch=batch)
            np.testing.assert_allclose(found, expected, atol=1e-5)
        checked = runner.check(tmp_path / "check.npz", batch=3)
        times = runner.measure(runs=5, batch=2, warmup=1)
        times += runner.measure(runs=2, inputs=inputs, copies=True)

    assert facts["version"] == runtimes.state("onnxruntime").version
    assert [port["name"] for port in facts["inputs"]] == ["image", "tokens"]
    assert found.dtype == np.float32 and "ok" not in facts
    assert checked["passed"] and checked["examples"] == 9
    assert len(times) == 7 and min(times) > 0


def test_artefacts_for_the_web_are_run_by_its_substitute(onnx_file) -> None:
    path, inputs, expected = onnx_file
    with Runner("onnxruntime-web") as runner:
        assert runner.load(path)["runtime"] == "onnxruntime"
        np.testing.assert_allclose(runner.predict(inputs), expected, atol=1e-5)


@pytest.mark.parametrize(
    "runtime", [pytest.param("litert", marks=pytest.mark.slow), "tflite-runtime"]
)
def test_a_tflite_file_gives_the_model_s_scores(runtime, residual_net, tmp_path) -> None:
    if runtimes.state(runtime).version is None:
        pytest.skip(f"{runtime} is not installed: compressor runtimes install {runtime}")
    model, path = residual_net(), tmp_path / "residual.tflite"
    path.write_bytes(runnable_files.tflite_bytes(model))
    images = np.random.default_rng(5).random((7, 8, 8, 1), np.float32)
    with Runner(runtime) as runner:
        facts = runner.load(path)
        for batch in (1, 3, 7):
            scores = runner.predict({"picture": images}, batch=batch)
            np.testing.assert_allclose(scores, model.predict_on_batch(images), atol=1e-4)

    assert facts["version"] == runtimes.state(runtime).version
    if runtime == "tflite-runtime":
        assert facts["numpy"].startswith("1.")  # its own, not this Python's


def test_one_process_serves_several_artefacts_and_is_gone_at_the_end(onnx_file, tmp_path) -> None:
    path, inputs, expected = onnx_file
    (tmp_path / "text.onnx").write_text("no model")
    with Runner("onnxruntime") as runner:
        runner.load(path)
        process = runner._process.process
        with pytest.raises(CheckFailedError, match="onnxruntime refuses the artefact") as refused:
            runner.load(tmp_path / "text.onnx")
        runner.load(path)
        np.testing.assert_allclose(runner.predict(inputs, batch=9), expected, atol=1e-5)
        assert runner._process.process is process
        folder = runner._path

    assert str(refused.value).isprintable()
    assert process.poll() == -signal.SIGKILL and not folder.exists()


def test_a_request_that_does_not_fit_is_the_caller_s_error(onnx_file, rejected) -> None:
    path, inputs, _ = onnx_file
    with Runner("onnxruntime") as runner:
        assert "no artefact" in rejected(UsageError, runner.predict, inputs)
        assert "no such file" in rejected(UsageError, runner.load, path.with_name("missing"))
        runner.load(path)
        assert "tokens" in rejected(UsageError, runner.predict, {"image": inputs["image"]})
        assert "no such file" in rejected(UsageError, runner.check, path.with_name("missing"))
    rejected(UsageError, Runner, "cobol")


def watched(runner: Runner) -> list[subprocess.Popen[bytes]]:
    """The processes that a runner starts from now on."""
    started, local = [], runner._process
    start = local.start

    def start_and_note(runtime: str) -> None:
        start(runtime)
        started.append(local.process)

    local.start = start_and_note
    return started


def test_a_crash_is_a_failed_check_and_the_next_load_starts_afresh(onnx_file, rejected) -> None:
    path, inputs, expected = onnx_file
    with Runner("onnxruntime") as runner:
        runner.load(path)
        os.kill(runner._process.process.pid, signal.SIGSEGV)
        message = rejected(CheckFailedError, runner.predict, inputs)
        assert message.startswith("the runtime crashed: onnxruntime: signal 11 (SIGSEGV)")
        runner.load(path)
        np.testing.assert_allclose(runner.predict(inputs), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("os.kill(os.getpid(), 9)", "signal 9 (SIGKILL); memory may have run out"),
        ("sys.exit('numpy is\\nbroken')", "exit code 1 (broken)"),
        ("sys.exit(0)", "exit code 0"),
        ("print('hello', flush=True); time.sleep(60)", "protocol: litert: hello"),
        ("print('{\"ok\": 1}', flush=True); time.sleep(60)", "protocol"),
        ("print('{\"ok\": false}', flush=True); time.sleep(60)", "protocol"),
        ("print('[' * 90_000, flush=True); time.sleep(60)", "protocol"),
        ("sys.stdin.readline(); time.sleep(60)", "load took more than 0.7 s"),
    ],
)
def test_a_process_that_breaks_its_word_is_ended(in_place, rejected, program, said) -> None:
    in_place(program)
    with Runner("litert", timeout=0.7 if "more than" in said else 60) as runner:
        started = watched(runner)
        message = rejected(CheckFailedError, runner.load, "any.tflite")
        assert said in message, message
        assert started[0].poll() is not None and gone(started[0].pid)


@pytest.mark.race
def test_ctrl_c_ends_the_process_at_once(in_place) -> None:
    in_place("sys.stdin.readline(); time.sleep(60)")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    start = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt), Runner("litert") as runner:
            started = watched(runner)
            runner.load("any.tflite")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert started[0].poll() is not None and gone(started[0].pid)
    assert time.monotonic() - start < 30  # not the minute that the process would have slept


def test_a_runtime_that_is_not_there_is_said_so(monkeypatch, rejected, tmp_path) -> None:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    with Runner("tflite-runtime") as runner:
        message = rejected(MissingRuntimeError, runner.load, "any.tflite")
        assert "compressor runtimes install tflite-runtime" in message
    monkeypatch.setattr(registry, "python_of", lambda name: str(Path(tmp_path, "no-python")))
    with Runner("litert") as runner:
        assert "no-python" in rejected(MissingRuntimeError, runner.load, "any.tflite")
    # A Python that has the runner's own needs, but not the runtime: this one has no tflite-runtime.
    monkeypatch.setattr(registry, "python_of", lambda name: sys.executable)
    (tmp_path / "any.tflite").write_bytes(b"")
    with Runner("tflite-runtime") as runner:
        message = rejected(MissingRuntimeError, runner.load, tmp_path / "any.tflite")
        assert "tflite_runtime" in message
