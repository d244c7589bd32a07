"""Measuring row by row, each in turns with the first artefact."""

from __future__ import annotations

import argparse
import contextlib
import time
from types import TracebackType

import numpy as np

from deploy.statistics import median_interval, percentile_intervals, ratio_interval

from .material import Material
from .plan import Row, describe_missing, missing, row_of
from .process import Clock, Facts, OutOfTimeError, RowError, Runner
from .record import save
from .table import cell

ACCURACY_BATCH = 100
ACCURACY_TOLERANCE = 0.002
"""By how much the accuracy on the test images may differ from what the artefact is known for."""
_FEWEST_RUNS, _MOST_RUNS = 5, 500
_MOST_PROCESSES = 8
_PROOF = ("examples", "accuracy", "agreement")


class Station:
    """A process with an artefact loaded in it."""

    def __init__(self, runner: Runner, facts: Facts) -> None:
        self.runner, self.facts = runner, facts
        self.median_ns: dict[tuple[int, str], float] = {}
        """of the batch sizes and transfers that it is warmed up for"""
        self.largest = 0
        """the largest batch that it has run: its memory is of that one"""


class Bench:
    """A run: what is measured is kept in `record`, and written after every row.

    A process stays for all rows of its artefact, since starting one on a GPU takes seconds; a
    context manager, which ends them.
    """

    def __init__(
        self, options: argparse.Namespace, material: Material, record: Facts, clock: Clock
    ) -> None:
        self._options, self._material, self.record = options, material, record
        self._clock = clock
        self._stations: dict[tuple[int, str, bool], Station] = {}
        self._refused: dict[tuple[int, str, bool], RowError] = {}
        self._proofs: dict[tuple[int, str], Facts] = {}
        self._classes: dict[tuple[int, str], np.ndarray] = {}

    def __enter__(self) -> Bench:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        for key in list(self._stations):
            self._drop(key)

    def run(self) -> None:
        """Measure the missing rows, as long as another one is likely to be finished in time."""
        longest = 0.0
        with contextlib.suppress(OutOfTimeError):
            for row in missing(self.record):
                if self._clock.left() <= longest:
                    break
                start = time.monotonic()
                found = self._measured(row)
                longest = max(longest, time.monotonic() - start)
                self.record["rows"].append(found)
                save(self.record, self._options.out)
                print(self._line(found), flush=True)
        for line in describe_missing(self.record):
            print(line, flush=True)

    def _measured(self, row: Row) -> Facts:
        found: Facts = {**row._asdict(), "threads": self._options.threads}
        found |= {"status": "right", "reason": None}
        graph = row.transfer == "graph"
        try:
            station = self._station(row.artefact, row.runtime, graph)
            found.update(self._begin(station, row))
            found.update(self._proof(row.artefact, row.runtime))
            self._judge(found)
            found.update(self._rounds(station, row))
        except RowError as error:
            self._drop((row.artefact, row.runtime, graph))
            found["status"], found["reason"] = "failed", str(error)
        return found

    def _station(self, artefact: int, runtime: str, graph: bool) -> Station:
        """The process of an artefact, started where it is not there; the oldest ones end.

        One that cannot be loaded is not tried again, and not as a CUDA graph.
        """
        key = artefact, runtime, graph
        for refused in ((artefact, runtime, False), key):
            if refused in self._refused:
                raise self._refused[refused]
        if key in self._stations:
            self._stations[key] = self._stations.pop(key)
            return self._stations[key]
        while len(self._stations) >= _MOST_PROCESSES:
            self._drop(next(iter(self._stations)))
        options = self._options
        runner = Runner(options.package, runtime, options.time_limit, self._clock)
        try:
            facts = runner.ask(
                "load",
                runtime=runtime,
                path=str(self._material.folder / self._material.artefacts[artefact]["file"]),
                threads=options.threads,
                cpus=None,
                graph=graph,
                reference=False,
            )
        except BaseException as error:
            runner.close()
            if isinstance(error, RowError):
                self._refused[key] = error
            raise
        self._stations[key] = Station(runner, facts)
        return self._stations[key]

    def _drop(self, key: tuple[int, str, bool]) -> None:
        if key in self._stations:
            self._stations.pop(key).runner.close()

    def _fed(self, row: Row) -> Facts:
        copies = row.transfer == "copies"
        return {"batch": row.batch, "inputs": self._material.batches(row.batch), "copies": copies}

    def _warmed(self, station: Station, row: Row) -> Facts:
        warm = station.runner.ask("warm_up", seconds=self._options.warmup_seconds, **self._fed(row))
        station.median_ns[row.batch, row.transfer] = warm["median_ns"]
        return warm

    def _begin(self, station: Station, row: Row) -> Facts:
        """Warm up and run the check vectors, as the row will be run."""
        facts, first = station.facts, not station.largest
        warm = self._warmed(station, row)
        memory = row.batch >= station.largest
        station.largest = max(station.largest, row.batch)
        file = self._material.artefacts[row.artefact]["file"] + ".check.npz"
        vectors = str(self._material.folder / file)
        found: Facts = {
            **{key: facts[key] for key in ("version", "provider", "numpy", "python", "cpus")},
            "delegate": facts["delegate"],
            "check": station.runner.ask("check", vectors=vectors, batch=row.batch),
            "import_ms": {"p50": facts["import_ms"], "samples": 1},
            "load_ms": {"p50": facts["load_ms"], "samples": 1},
            "warmup": {"runs": warm["runs"], "settled": warm["settled"]},
            "timer_ns": warm["timer_ns"],
            "call_ns": warm["call_ns"],
            "peak_memory_bytes": warm["peak_memory_bytes"] if memory else None,
            "gpu_memory_bytes": warm["device_memory_bytes"] if memory else None,
        }
        if first and row.transfer == "copies":  # else the first run is part of binding
            found["first_ms"] = {"p50": warm["first_ns"] / 1e6, "samples": 1}
        return found

    def _judge(self, found: Facts) -> None:
        """What is computed must be right, by the test images and by the check vectors."""
        known = self._material.artefacts[found["artefact"]]["accuracy"]
        if abs(found["accuracy"] - known) > ACCURACY_TOLERANCE:
            found["status"] = "wrong"
            found["reason"] = f"accuracy {found['accuracy']:.4f}, {known:.4f} on the CPU"
        elif not found["check"]["passed"]:
            found["status"] = "wrong"
            found["reason"] = f"the check vectors differ by {found['check']['difference']}"

    def _proof(self, artefact: int, runtime: str) -> Facts:
        """Accuracy of an artefact in a runtime on all test images; once."""
        key = artefact, runtime
        for row in self.record["rows"]:
            if (row["artefact"], row["runtime"]) == key and "accuracy" in row:
                return {name: row[name] for name in _PROOF if name in row}
        if key not in self._proofs:
            labels = self._material.labels
            classes = self._predicted(artefact, runtime)
            found: Facts = {"examples": len(labels)}
            found["accuracy"] = float(np.mean(classes == labels))
            with contextlib.suppress(RowError):
                found["agreement"] = float(np.mean(classes == self._predicted(0, runtime)))
            self._proofs[key] = found
        return self._proofs[key]

    def _predicted(self, artefact: int, runtime: str) -> np.ndarray:
        """The class of every test image, (n,)."""
        key = artefact, runtime
        if key not in self._classes:
            station = self._station(artefact, runtime, graph=False)
            outputs = self._options.work / "scores.npy"
            inputs = self._material.all_images()
            try:
                station.runner.ask(
                    "predict", inputs=inputs, outputs=str(outputs), batch=ACCURACY_BATCH
                )
            except RowError:
                self._drop((artefact, runtime, False))
                raise
            station.largest = max(station.largest, ACCURACY_BATCH)
            self._classes[key] = np.argmax(np.load(outputs, allow_pickle=False), axis=1)
        return self._classes[key]

    def _rounds(self, station: Station, row: Row) -> Facts:
        """Latency, its ratio to the first artefact, and throughput, in rounds that take turns."""
        times: list[np.ndarray] = []
        beside: list[np.ndarray] = []
        throughput: list[float] = []
        first = None if row.artefact == 0 else self._first(row)
        for _ in range(self._options.rounds):
            if first is not None:
                try:
                    beside.append(self._round(first, row))
                except RowError:
                    first = None
                    self._drop((0, row.runtime, row.transfer == "graph"))
            times.append(self._round(station, row))
            stream = station.runner.ask("stream", runs=len(times[-1]), **self._fed(row))
            throughput.append(stream["examples"] * 1e9 / max(stream["ns"], 1))
        samples = sum(map(len, times))
        latency = {**percentile_intervals(times), "samples": samples, "rounds": len(times)}
        found: Facts = {"latency_ms": latency, "throughput": median_interval(np.array(throughput))}
        if row.artefact == 0 or beside:
            found["ratio"] = ratio_interval(times, beside or times)
        return found

    def _first(self, row: Row) -> Station | None:
        """The first artefact, ready to be run as in this row; None if it failed at that."""
        first = row._replace(artefact=0)
        if any(row_of(one) == first and one["status"] == "failed" for one in self.record["rows"]):
            return None
        with contextlib.suppress(RowError):
            station = self._station(0, row.runtime, row.transfer == "graph")
            if (row.batch, row.transfer) not in station.median_ns:  # in a run that goes on
                self._warmed(station, first)
                station.largest = max(station.largest, row.batch)
            return station
        return None

    def _round(self, station: Station, row: Row) -> np.ndarray:
        """Milliseconds of each run."""
        wanted = self._options.round_seconds * 1e9
        wanted /= max(station.median_ns[row.batch, row.transfer], 1.0)
        runs = int(min(max(wanted, _FEWEST_RUNS), _MOST_RUNS))
        found = station.runner.ask("measure", runs=runs, warmup=2, **self._fed(row))
        return np.array(found["ns"]) / 1e6

    def _line(self, row: Facts) -> str:
        name = self._material.artefacts[row["artefact"]]["name"]
        place = f"{row['runtime']}, batch {row['batch']}, {row['transfer']}: {name}"
        if row["status"] == "failed":
            return f"{place}: failed: {row['reason']}"
        return f"{place}: {cell(row)} ms, {row['throughput']['value']:,.0f} a second"
