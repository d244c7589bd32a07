"""Artefacts in their runtimes, each of which has a process of its own."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from compressor.errors import CheckFailedError
from compressor.exporters.reference import Reference, run_examples
from compressor.exporters.request import ExportedFile
from compressor.foundation import temporary_folder
from compressor.runtimes import Runner
from deploy import describe_machine


class Processes:
    """Processes with `threads` each, by default one per core.

    Within the context one process for each runtime is kept, outside there is one for each file.
    """

    def __init__(self, threads: int | None) -> None:
        self._threads = threads
        self._kept: contextlib.ExitStack | None = None
        self._runners: dict[str, Runner] = {}

    def __enter__(self) -> None:
        self._kept = contextlib.ExitStack()

    def __exit__(self, *error: object) -> None:
        kept, self._kept = self._kept, None
        self._runners.clear()
        if kept is not None:
            kept.close()

    def pause(self) -> None:
        """Stop them until they are needed, so that their threads do not spin."""
        for runner in self._runners.values():
            runner.pause()

    @contextlib.contextmanager
    def loaded(
        self,
        runtime: str,
        file_format: str,
        file: ExportedFile,
        *,
        reference: bool = False,
        flat: bool = True,
    ) -> Iterator[tuple[dict[str, Any], Callable[[Reference, int], np.ndarray]]]:
        """A file in a runtime: what the runner says of it, and what runs examples in batches.

        With `reference` in the runtime's plain kernels; `flat` outputs have a row an example.
        Raises CheckFailedError where the runtime refuses the file, and MissingRuntimeError where it
        is not available.
        """
        with self._opened(runtime, file_format, file, reference=reference) as (facts, runner):

            def run(examples: Reference, batch: int) -> np.ndarray:
                predict = functools.partial(runner.predict, batch=batch)
                return run_examples(predict, file.inputs, examples, flat=flat)

            yield facts, run

    def outputs(
        self,
        runtime: str,
        file_format: str,
        file: ExportedFile,
        arrays: dict[str, np.ndarray],
        batch: int,
    ) -> np.ndarray:
        """The outputs of a file, float32 (n, ...), of arrays (n, ...) by its inputs' names.

        Raises as `loaded` does.
        """
        with self._opened(runtime, file_format, file) as (_, runner):
            return runner.predict(arrays, batch=batch)

    def arena(self, runtime: str, content: bytes) -> int | None:
        """Bytes of the arena that a TFLite file takes; None where the runtime refuses the file."""
        file = ExportedFile(content, (), (), {})
        try:
            with self._opened(runtime, "tflite", file) as (facts, _):
                found: int | None = facts["arena_bytes"]
                return found
        except CheckFailedError:
            return None

    @contextlib.contextmanager
    def _opened(
        self,
        runtime: str,
        file_format: str,
        file: ExportedFile,
        *,
        reference: bool = False,
    ) -> Iterator[tuple[dict[str, Any], Runner]]:
        with temporary_folder("compressor-check-") as folder, self._runner(runtime) as runner:
            path = folder / f"artefact.{file_format}"
            path.write_bytes(file.content)
            for name, data in file.data.items():
                (folder / name).write_bytes(data)
            yield runner.load(path, reference=reference), runner

    @contextlib.contextmanager
    def _runner(self, runtime: str) -> Iterator[Runner]:
        runner = self._runners.get(runtime)
        if runner is None:
            runner = Runner(runtime, threads=self._threads or describe_machine()["cores"])
            if self._kept is None:
                with runner:
                    yield runner
                return
            self._runners[runtime] = self._kept.enter_context(runner)
        runner.resume()
        yield runner
