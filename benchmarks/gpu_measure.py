"""Measures ONNX artefacts on a GPU: `python measure.py`, beside what `benchmarks.gpu` prepared.

It needs Python 3.9, numpy and onnxruntime-gpu, and nothing of compressor but runner.pyz, which runs
each artefact in a process of its own. Every table (a runtime, batch size and way of copying) is
measured in rounds in which the artefacts take turns. A table is written when it is finished; the
same command again goes on with those that are not. Exit codes: 0 all is right, 1 a row failed or
was wrong, 2 bad usage, 3 a runtime asked for is not there, 130 interrupted.

transfer: `copies` from numpy and to it in every run, `device` with inputs and outputs in the GPU's
memory (I/O binding), `graph` the same as a CUDA graph.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import platform
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "runner.pyz"))

from deploy.arrays import write_arrays  # noqa: E402 - lies in runner.pyz
from deploy.machine import describe_machine, governor, load_average  # noqa: E402
from deploy.statistics import (  # noqa: E402
    CONFIDENCE,
    median_interval,
    percentile_intervals,
    ratio_interval,
)

RUNTIMES = ("cuda", "tensorrt", "onnxruntime")
TRANSFERS = ("copies", "device", "graph")
BATCHES = "1,4,16,64,256,1024,4096"
ACCURACY_BATCH = 100
ACCURACY_TOLERANCE = 0.002
"""By how much the accuracy on the test images may differ from what the artefact is known for."""
_FEWEST_RUNS, _MOST_RUNS = 5, 2000
_BATCHES_FED = 16
_PACKAGES = ("onnxruntime", "numpy", "nvidia-", "tensorrt")

Facts = dict[str, Any]


class RowError(Exception):
    """A row cannot be measured: the reason, in one line. `kind` is the runner's, or `crash`."""

    def __init__(self, reason: str, kind: str = "crash") -> None:
        super().__init__(" ".join(reason.split()))
        self.kind = kind


class UsageError(Exception):
    """What was given cannot be used: one line."""


class Runner:
    """A runner's process; a context, which ends it. Every request raises RowError."""

    def __init__(self, runtime: str, time_limit: float) -> None:
        self.runtime, self._limit = runtime, time_limit
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(HERE / "runner.pyz"), "protocol"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,  # Ctrl-C is for this process, which ends the other
        )
        self._answers: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._stderr.close()

    def ask(self, op: str, **fields: Any) -> Facts:
        """The answer to a request."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
            self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=self._limit)
        except queue.Empty:
            self._process.kill()
            raise RowError(f"{op} took more than {self._limit:g} s") from None
        if not line:
            raise RowError(f"the process ended with {self._process.wait()}{self._said()}")
        answer: Facts = json.loads(line)
        if not answer["ok"]:
            raise RowError(answer["error"], answer["kind"])
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def _said(self) -> str:
        """The last line that the process wrote to standard error."""
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").split("\n")
        lines = [line for line in lines if line.strip()]
        return f": {lines[-1][:200]}" if lines else ""


class Material:
    """What was prepared: artefacts, test images and labels. Raises UsageError where it is not."""

    def __init__(self, folder: Path) -> None:
        try:
            plan = json.loads((folder / "artefacts.json").read_text())
            self.artefacts: list[Facts] = plan["artefacts"]
            self.version: str = plan["compressor_version"]
            self.data: Facts = plan["data"]
            with np.load(folder / "images.npz", allow_pickle=False) as stored:
                images, self.labels = stored["images"], stored["labels"]
            # Divided, as where the models were trained.
            self.images = images.astype(np.float32) / np.float32(255)
            self.images = self.images.reshape(len(images), *plan["row"])
            self.input: str = plan["input"]
            for artefact in self.artefacts:
                content = (folder / artefact["file"]).read_bytes()
                if hashlib.sha256(content).hexdigest() != artefact["sha256"]:
                    raise ValueError(f"{artefact['file']} is not what was prepared")
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"the folder is not as it was prepared: {error}") from error
        self.folder = folder

    def write(self, path: Path, rows: int) -> str:
        """An .npz of the first `rows` test images, repeated where they are too few."""
        with open(path, "wb") as file:
            shape = (rows, *self.images.shape[1:])
            kept = self.images[:rows] if rows <= len(self.images) else np.resize(self.images, shape)
            write_arrays(file, {self.input: kept})
        return str(path)


class Bench:
    """One run: what is measured, kept in `record` after every table."""

    def __init__(self, options: argparse.Namespace, material: Material, folder: Path) -> None:
        self.options, self.material, self._folder = options, material, folder
        self._proofs: dict[tuple[str, int], tuple[Facts, np.ndarray | None]] = {}
        self.record = self._resumed() or self._fresh()

    def run(self) -> None:
        """Measure every table that is not there yet."""
        done = {(row["runtime"], row["batch"], row["transfer"]) for row in self.record["rows"]}
        for table in self._tables():
            if table not in done:
                self.record["rows"] += self._table(*table)
                self.save()
        self.record["finished"], self.record["interrupted"] = _now(), False
        self.save()

    def save(self) -> None:
        """Write the results, as JSON and as a table, at once."""
        self.record["machine"]["load_average"][1] = load_average()
        document = {"schema": "compressor.bench", "schema_version": 1, "runs": [self.record]}
        texts = {".json": json.dumps(document, indent=1) + "\n", ".md": markdown(self.record)}
        for suffix, text in texts.items():
            path = self.options.out.with_suffix(suffix)
            partial = path.with_name(path.name + ".partial")
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)

    def _tables(self) -> Iterator[tuple[str, int, str]]:
        for runtime in self.options.runtime:
            for batch in self.options.batches:
                for transfer in self.options.transfers:
                    if transfer != "graph" or runtime != "onnxruntime":
                        yield runtime, batch, transfer

    def _table(self, runtime: str, batch: int, transfer: str) -> list[Facts]:
        """The rows of all artefacts, measured in turns."""
        print(f"{runtime}, batch {batch}, {transfer}", flush=True)
        source = self.material.write(self._folder / "fed.npz", batch * _BATCHES_FED)
        fed = {"batch": batch, "inputs": source, "copies": transfer == "copies"}
        rows: list[Facts] = []
        rounds: list[list[np.ndarray]] = []
        streams: list[list[float]] = []
        with contextlib.ExitStack() as stack:
            runners: list[Runner] = []
            for number in range(len(self.material.artefacts)):
                row = self._row(number, runtime, batch, transfer)
                rows.append(row)
                rounds.append([])
                streams.append([])
                runners.append(stack.enter_context(Runner(runtime, self.options.time_limit)))
                self._guarded(row, self._begin, runners[number], fed)
            for _ in range(self.options.rounds):
                for number, row in enumerate(rows):
                    self._guarded(
                        row, self._round, runners[number], fed, rounds[number], streams[number]
                    )
        for row, times, throughput in zip(rows, rounds, streams):  # noqa: B905 - Python 3.9
            row.pop("median_ns", None)
            if row["status"] != "failed":
                row["latency_ms"] = _latency(times)
                row["throughput"] = median_interval(np.array(throughput))
                if rows[0]["status"] != "failed":
                    row["ratio"] = ratio_interval(times, rounds[0])
            print("  " + _line(row, self.material.artefacts), flush=True)
        return rows

    def _row(self, number: int, runtime: str, batch: int, transfer: str) -> Facts:
        proof, _ = self._proof(runtime, number)
        place = {"artefact": number, "runtime": runtime, "threads": self.options.threads}
        return {**place, "batch": batch, "transfer": transfer, **proof}

    def _begin(self, row: Facts, runner: Runner, fed: Facts) -> None:
        """Load, warm up, and run the check vectors, as the row will be run."""
        artefact = self.material.artefacts[row["artefact"]]
        facts = self._load(runner, artefact, row["transfer"] == "graph")
        warm = runner.ask("warm_up", seconds=self.options.warmup_seconds, **fed)
        vectors = str(self.material.folder / (artefact["file"] + ".check.npz"))
        check = runner.ask("check", vectors=vectors, batch=row["batch"])
        check.pop("ok")
        row.update(
            {key: facts[key] for key in ("version", "provider", "numpy", "python", "cpus")},
            delegate=facts["delegate"],
            check=check,
            import_ms={"p50": facts["import_ms"], "samples": 1},
            load_ms={"p50": facts["load_ms"], "samples": 1},
            warmup={"runs": warm["runs"], "settled": warm["settled"]},
            timer_ns=warm["timer_ns"],
            call_ns=warm["call_ns"],
            peak_memory_bytes=warm["peak_memory_bytes"],
            gpu_memory_bytes=warm["device_memory_bytes"],
            median_ns=warm["median_ns"],
        )
        if row["transfer"] == "copies":  # else the first run is part of binding
            row["first_ms"] = {"p50": warm["first_ns"] / 1e6, "samples": 1}
        if row["status"] == "right" and not check["passed"]:
            row["status"] = "wrong"
            row["reason"] = f"the check vectors differ by {check['difference']}"

    def _round(
        self,
        row: Facts,
        runner: Runner,
        fed: Facts,
        times: list[np.ndarray],
        throughput: list[float],
    ) -> None:
        wanted = self.options.round_seconds * 1e9 / max(row["median_ns"], 1.0)
        runs = int(min(max(wanted, _FEWEST_RUNS), _MOST_RUNS))
        found = runner.ask("measure", runs=runs, warmup=2, **fed)
        times.append(np.array(found["ns"]) / 1e6)
        stream = runner.ask("stream", runs=runs, **fed)
        throughput.append(stream["examples"] * 1e9 / max(stream["ns"], 1))

    def _proof(self, runtime: str, number: int) -> tuple[Facts, np.ndarray | None]:
        """Accuracy of an artefact in a runtime, on all test images, and its predictions; once."""
        if (runtime, number) not in self._proofs:
            artefact = self.material.artefacts[number]
            row: Facts = {"status": "right", "reason": None, "examples": len(self.material.labels)}
            classes: list[np.ndarray] = []
            with Runner(runtime, self.options.time_limit) as runner:
                self._guarded(row, self._predict, runner, artefact, classes)
            if classes:
                first = classes[0] if number == 0 else self._proof(runtime, 0)[1]
                row["accuracy"] = float(np.mean(classes[0] == self.material.labels))
                if first is not None:
                    row["agreement"] = float(np.mean(classes[0] == first))
                if abs(row["accuracy"] - artefact["accuracy"]) > ACCURACY_TOLERANCE:
                    row["status"] = "wrong"
                    row["reason"] = (
                        f"accuracy {row['accuracy']:.4f}, {artefact['accuracy']:.4f} on the CPU"
                    )
            self._proofs[runtime, number] = row, classes[0] if classes else None
        return self._proofs[runtime, number]

    def _predict(
        self, row: Facts, runner: Runner, artefact: Facts, classes: list[np.ndarray]
    ) -> None:
        self._load(runner, artefact, graph=False)
        images = self.material.write(self._folder / "all.npz", len(self.material.images))
        outputs = self._folder / "scores.npy"
        runner.ask("predict", inputs=images, outputs=str(outputs), batch=ACCURACY_BATCH)
        classes.append(np.argmax(np.load(outputs, allow_pickle=False), axis=1))

    def _load(self, runner: Runner, artefact: Facts, graph: bool) -> Facts:
        path = str(self.material.folder / artefact["file"])
        return runner.ask(
            "load",
            runtime=runner.runtime,
            path=path,
            threads=self.options.threads,
            cpus=None,
            graph=graph,
        )

    def _guarded(self, row: Facts, work: Any, *arguments: Any) -> None:
        """Do a part of a row, unless it failed before; what goes wrong costs this row only."""
        if row["status"] == "failed":
            return
        try:
            work(row, *arguments)
        except RowError as error:
            row["status"], row["reason"] = "failed", str(error)

    def _fresh(self) -> Facts:
        keys = ("file", "name", "format", "bytes", "sha256", "quantize", "optimize", "sparsity")
        return {
            "id": f"{self.options.benchmark}-{_now()}",
            "benchmark": self.options.benchmark,
            "started": _now(),
            "finished": None,
            "interrupted": True,
            "compressor_version": self.material.version,
            "machine": {
                **describe_machine(),
                "governor": governor(),
                "load_average": [load_average(), None],
                "gpu": self.options.device,
                "packages": _packages(),
                "python": platform.python_version(),
            },
            "settings": self._settings(),
            "data": self.material.data,
            "artefacts": [
                {
                    **{key: artefact[key] for key in (*keys, "accuracy", "reference_accuracy")},
                    "described": True,
                    "made": artefact["made"],
                }
                for artefact in self.material.artefacts
            ],
            "rows": [],
        }

    def _settings(self) -> Facts:
        return {
            "threads": [self.options.threads],
            "batches": self.options.batches,
            "rounds": self.options.rounds,
            "round_seconds": self.options.round_seconds,
            "warmup_seconds": self.options.warmup_seconds,
            "starts": 1,
            "time_limit_s": self.options.time_limit,
            "confidence": CONFIDENCE,
            "runtimes": self.options.runtime,
            "transfers": self.options.transfers,
        }

    def _resumed(self) -> Facts | None:
        """The run in the output file, where it is of the same artefacts, machine and settings."""
        try:
            found: Facts = json.loads(self.options.out.read_text())["runs"][-1]
            fresh = self._fresh()
            same = all(found[key] == fresh[key] for key in ("artefacts", "settings", "data"))
            machine, here = dict(found["machine"]), dict(fresh["machine"])
            for one in (machine, here):
                one.pop("load_average")
            if not same or machine != here:
                raise UsageError(
                    f"{self.options.out} is of another run; remove it, or give another --out"
                )
            return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise UsageError(f"{self.options.out} cannot be read: {error}") from error


def markdown(record: Mapping[str, Any]) -> str:
    """The results as tables: latency and its ratio to the first artefact, by batch size."""
    machine, lines = record["machine"], [f"# {record['benchmark']}", ""]
    gpu = machine["gpu"]
    shown = f"{gpu['name']}, driver {gpu['driver']}" if gpu else "no GPU"
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines += [f"{shown}; {machine['cpu']}, {machine['cores']} cores; Python {machine['python']}"]
    lines += [packages, "", "p50 of one batch, ms, and how many times that of the first row", ""]
    groups: dict[tuple[str, str], list[Facts]] = {}
    for row in record["rows"]:
        groups.setdefault((row["runtime"], row["transfer"]), []).append(row)
    for (runtime, transfer), rows in groups.items():
        batches = sorted({row["batch"] for row in rows})
        provider = next((row["provider"] for row in rows if row.get("provider")), "not measured")
        lines += [f"## {runtime} ({provider}), {transfer}", ""]
        head = ["artefact", "bytes", "accuracy, %", *map(str, batches)]
        lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for number, artefact in enumerate(record["artefacts"]):
            cells = {row["batch"]: row for row in rows if row["artefact"] == number}
            reached = next((row.get("accuracy") for row in cells.values()), None)
            first = "—" if reached is None else f"{100 * reached:.2f}"
            line = [artefact["name"], f"{artefact['bytes']:,}", first]
            line += [_cell(cells.get(batch)) for batch in batches]
            lines.append("| " + " | ".join(line) + " |")
        reasons = {
            f"- {record['artefacts'][row['artefact']]['name']}: {row['status']}, {row['reason']}"
            for row in rows
            if row["status"] != "right"
        }
        lines += ["", *sorted(reasons), *([""] if reasons else [])]
    return "\n".join(lines).rstrip() + "\n"


def _cell(row: Facts | None) -> str:
    if row is None or row["status"] == "failed":
        return "—" if row is None else "failed"
    ratio = f" ({row['ratio']['value']:.2f})" if row.get("ratio") else ""
    mark = " WRONG" if row["status"] == "wrong" else ""
    return f"{row['latency_ms']['p50']['value']:.3f}{ratio}{mark}"


def _line(row: Facts, artefacts: Sequence[Facts]) -> str:
    name = artefacts[row["artefact"]]["name"]
    if row["status"] == "failed":
        return f"{name}: failed: {row['reason']}"
    return f"{name}: {_cell(row)} ms, {row['throughput']['value']:,.0f} a second"


def _latency(times: Sequence[np.ndarray]) -> Facts:
    samples = sum(len(one) for one in times)
    return {**percentile_intervals(times), "samples": samples, "rounds": len(times)}


def _packages() -> dict[str, str]:
    """The packages of this Python that matter here, with their versions."""
    found = {}
    for package in importlib.metadata.distributions():
        name = str(package.metadata["Name"] or "").lower()
        if name.startswith(_PACKAGES):
            found[name] = package.version
    return dict(sorted(found.items()))


def _now() -> str:
    now = datetime.datetime.now(datetime.timezone.utc)  # noqa: UP017 - Python 3.9
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _numbers(text: str) -> list[int]:
    numbers = [int(part) for part in text.split(",")]
    if not numbers or min(numbers) < 1 or max(numbers) > 2**20:
        raise argparse.ArgumentTypeError(f"no batch sizes: {text}")
    return list(dict.fromkeys(numbers))


def _names(known: Sequence[str]) -> Any:
    def parse(text: str) -> list[str]:
        names = list(dict.fromkeys(text.split(",")))
        if not set(names) <= set(known):
            raise argparse.ArgumentTypeError(f"{text}: choose from {', '.join(known)}")
        return names

    return parse


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runtime", type=_names(RUNTIMES), default=["cuda"])
    parser.add_argument("--batches", type=_numbers, default=_numbers(BATCHES))
    parser.add_argument("--transfers", type=_names(TRANSFERS), default=list(TRANSFERS))
    parser.add_argument("--out", type=Path, help="default: gpu.json, or cpu.json of a dry run")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--round-seconds", type=float, default=0.1)
    parser.add_argument("--warmup-seconds", type=float, default=3.0, help="at most, of a row")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--time-limit", type=float, default=180.0, help="seconds of a request")
    options = parser.parse_args(arguments)
    on_cpu = "onnxruntime" in options.runtime
    if on_cpu and len(options.runtime) > 1:
        parser.error("onnxruntime is a dry run on the CPU: measure it by itself")
    options.benchmark = "cpu" if on_cpu else "gpu"
    options.out = options.out or Path(f"{options.benchmark}.json")
    if on_cpu and "gpu" in options.out.stem.lower():
        parser.error(f"a dry run on the CPU must not be called {options.out}")
    seconds = (options.round_seconds, options.warmup_seconds, options.time_limit)
    if min(options.rounds, options.threads) < 1 or not all(0 < one <= 3600 for one in seconds):
        parser.error(
            "rounds, threads, seconds and the time limit are above zero, and not too large"
        )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the results; the exit code."""
    options = _options(arguments)
    try:
        return _measure(options)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _measure(options: argparse.Namespace) -> int:
    material = Material(HERE)
    options.device = None
    for runtime in options.runtime:
        try:
            with Runner(runtime, options.time_limit) as runner:
                probed = runner.ask("probe", runtime=runtime)
        except RowError as error:
            print(f"error: {runtime} cannot run here: {error}", file=sys.stderr)
            return 3
        options.device = probed["device"]
        print(f"{runtime}: onnxruntime {probed['version']}, {probed['provider']}")
    with tempfile.TemporaryDirectory(prefix="gpu-bench-") as folder:
        bench = Bench(options, material, Path(folder))
        try:
            bench.run()
        except KeyboardInterrupt:
            print("interrupted: what was measured is kept", file=sys.stderr)
            bench.save()
            return 130
    print(f"written to: {options.out}, {options.out.with_suffix('.md')}")
    return int(any(row["status"] != "right" for row in bench.record["rows"]))


if __name__ == "__main__":
    sys.exit(main())
