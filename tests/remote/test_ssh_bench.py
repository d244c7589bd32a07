"""Measuring over a real ssh: the same rows as here, and nothing is left there."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from command_line import compressor
from ssh_server import CuttingProxy, closed_port, wait_until

import compressor as library
from compressor.errors import CheckFailedError, MissingRuntimeError, UsageError
from compressor.runtimes.runner import Runner

QUICK = {"rounds": 2, "round_seconds": 0.01, "starts": 1}


@pytest.fixture()
def no_leftovers(server):
    yield
    assert [str(path) for path in server.temporary.rglob("*")] == []


def test_a_runner_there_computes_what_one_here_does(bare, artefacts, no_leftovers) -> None:
    path = artefacts / "small.tflite"
    with Runner("litert", host=bare.host) as there, Runner("litert") as here:
        (port,) = there.load(path)["inputs"]
        here.load(path)
        inputs = np.random.default_rng(1).random((9, *port["shape"][1:]), np.float32)
        for part in (inputs, inputs[::-1].copy(), inputs[:4]):
            found = there.predict({port["name"]: part}, batch=4)
            np.testing.assert_array_equal(found, here.predict({port["name"]: part}, batch=4))
        assert there.check(f"{path}.check.npz")["passed"]
        there.pause()
        there.resume()
        assert len(there.measure(runs=3)) == 3
        assert there.stream(runs=2)[0] == 2


def test_a_process_that_is_paused_there_is_stopped_there(bare, artefacts, no_leftovers) -> None:
    def states() -> list[str]:
        """The states of the runners below the device's temporary folder."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                if str(bare.server.temporary).encode() in b" ".join(words) and (
                    b"protocol" in words
                ):
                    found.append((process / "stat").read_text().rpartition(")")[2].split()[0])
            except (OSError, IndexError):
                continue
        return found

    with Runner("litert", host=bare.host) as runner:
        runner.load(artefacts / "small.tflite")
        runner.pause()
        wait_until(lambda: states() == ["T"])
        runner.resume()
        assert len(runner.measure(runs=2)) == 2
        assert states() != ["T"]
        runner.pause()
    wait_until(lambda: states() == [])


def test_what_goes_wrong_there_is_said_as_here(bare, artefacts, tmp_path, rejected) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"TFL3" * 100)
    with Runner("litert", host=bare.host) as runner:
        message = rejected(CheckFailedError, runner.load, broken)
        assert message.startswith("the runtime cannot run the artefact: litert: ")
        runner.load(artefacts / "small.tflite")
        with pytest.raises(UsageError, match="cannot do that"):
            runner.predict({"nothing": np.zeros((1, 2), np.float32)})
        assert runner.check(artefacts / "small.tflite.check.npz")["passed"]
    with Runner("tflite-runtime", host=bare.host) as runner:
        rejected(MissingRuntimeError, runner.probe)


@pytest.mark.race
def test_a_cut_connection_costs_the_request_and_the_next_one_connects_again(
    bare, artefacts, rejected, no_leftovers
) -> None:
    path = artefacts / "small.tflite"
    with (
        CuttingProxy(bare.server.port) as proxy,
        Runner("litert", host=bare.host_by(proxy.port)) as runner,
    ):
        runner.load(path)
        proxy.cut()
        message = rejected(CheckFailedError, runner.measure, runs=3)
        assert message.startswith("the connection to the device was cut: device")
        assert runner.load(path)["runtime"] == "litert"
        assert len(runner.measure(runs=3)) == 3


@pytest.mark.slow
def test_bench_measures_there(bare, artefacts, tiny_file, tmp_path, no_leftovers) -> None:
    output = tmp_path / "bench.json"

    done = compressor(
        *("bench", artefacts / "float.tflite", artefacts / "small.onnx"),
        *("--data", tiny_file, "--rounds", 2, "--round-seconds", 0.01, "--starts", 2),
        *("-o", output, *bare.options),
    )

    assert done.code == 0, done.stderr
    assert "machine: device, " in done.stdout
    written = json.loads(output.read_text())
    schema = resources.files("compressor.runs").joinpath("bench.schema.json").read_text("utf-8")
    jsonschema.validate(written, json.loads(schema))
    (run,) = written["runs"]
    assert run["machine"]["host"] == "device"
    assert run["machine"]["cores"] >= 1
    assert [row["status"] for row in run["rows"]] == ["right", "right"]
    assert [row["runtime"] for row in run["rows"]] == ["litert", "onnxruntime"]
    for row in run["rows"]:
        assert row["latency_ms"]["p50"]["value"] > 0
        assert row["examples"] == 40
        assert row["load_ms"]["samples"] == 2


@pytest.mark.slow
@pytest.mark.race
def test_a_cut_connection_costs_its_row(bare, artefacts, tiny_data, tmp_path) -> None:
    paths = [artefacts / "small.tflite", artefacts / "small.onnx"]

    class Cut:
        """Cuts all connections when the first row has begun to be measured."""

        def __init__(self, proxy: CuttingProxy) -> None:
            self.proxy, self.left = proxy, 1

        def stage(self, title: str) -> None:
            if title.startswith("small.onnx") and self.left:
                self.left = 0
                self.proxy.cut()

        def table(self, cases) -> None:
            pass

        def done(self, run, rows) -> None:
            pass

    with CuttingProxy(bare.server.port) as proxy:
        run = library.bench(
            paths,
            data=tiny_data,
            output=tmp_path / "bench.json",
            host=bare.host_by(proxy.port),
            listener=Cut(proxy),
            **QUICK,
        )

    assert [row["status"] for row in run["rows"]] == ["failed", "right"]
    assert "the connection to the device was cut" in run["rows"][0]["reason"]


def test_a_host_that_is_not_there_measures_nothing(bare, artefacts, tmp_path, rejected) -> None:
    output = tmp_path / "bench.json"
    with closed_port() as port:
        message = rejected(
            MissingRuntimeError,
            library.bench,
            [artefacts / "small.tflite"],
            host=bare.host_by(port),
            output=output,
        )

    assert message.startswith("cannot connect: device (")
    assert not output.exists()
    alone = compressor("bench", artefacts / "small.tflite", "--python", "python3", "-o", output)
    assert "--host" in alone.refusal()


def test_more_threads_than_there_are_processors_there_are_refused(
    bare, artefacts, rejected
) -> None:
    message = rejected(
        UsageError, library.bench, [artefacts / "small.tflite"], threads=(999,), host=bare.host
    )

    assert "999" in message


@pytest.mark.slow
def test_an_export_measures_the_latency_there(
    bare, pruned_file, tiny_data, tmp_path, rejected, no_leftovers
) -> None:
    record = library.export(
        pruned_file, tmp_path / "m.tflite", tiny_data, quantize="auto", host=bare.host
    )

    speed = record["speed"]
    assert speed["host"] == bare.host.name and speed["runtime"] == "litert"
    assert speed["ratio"]["low"] <= speed["ratio"]["value"] <= speed["ratio"]["high"]
    with closed_port() as port:
        rejected(
            MissingRuntimeError,
            library.export,
            pruned_file,
            tmp_path / "other.tflite",
            tiny_data,
            host=bare.host_by(port),
        )
    assert not (tmp_path / "other.tflite").exists()
