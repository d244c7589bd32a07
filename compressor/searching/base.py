"""A search in its run directory: what does not depend on how its trials are made."""

from __future__ import annotations

import abc
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compressor.data import TrainingData
from compressor.errors import CheckFailedError
from compressor.foundation import Listener, write_json
from compressor.runs import RunDirectory, is_finished, read_record
from compressor.searching.document import ARTEFACTS, DENSE, SEARCH, best_first, search_document
from compressor.searching.finishing import finish
from compressor.searching.options import How
from compressor.searching.recipe import Recipe
from compressor.searching.standard import Standard
from compressor.searching.trials import Budget, Trial

_EXPORTED = 3


class BaseSearch(abc.ABC):
    """One search; `run` does trials, which are in `_done` then, and returns `_finish`."""

    _retrains = True
    """whether trials are retrained, so that one which is good enough beats the dense model"""

    def __init__(
        self,
        run: RunDirectory,
        source: Path,
        data: TrainingData,
        how: How,
        budget: Budget,
        listener: Listener,
    ) -> None:
        self._run, self._source, self._data, self._how = run, source, data, how
        self._budget, self._listener = budget, listener
        listener.stage("measure the model")
        self._dense = self._step(DENSE, lambda _: self._measured())
        examples = self._dense.get("examples", len(data.validation))
        self._standard = Standard.of(how.goal, self._dense, examples)

    @property
    @abc.abstractmethod
    def _done(self) -> Sequence[Trial]:
        """In order, with those that failed."""

    @abc.abstractmethod
    def _measured(self) -> dict[str, Any]:
        """The size of the dense model, its metrics on the validation examples, and its loss there.

        What a `Standard` reads besides, and in `examples` on how many, where these are not the
        validation examples alone.
        """

    @abc.abstractmethod
    def _model(self, trial: Trial) -> Path:
        """The model file of a trial."""

    def _step(
        self,
        name: str,
        work: Callable[[Path], dict[str, Any]],
        config: dict[str, Any] | None = None,
        again: Callable[[dict[str, Any]], bool] = lambda result: False,
    ) -> dict[str, Any]:
        """What `work` makes in a folder, from the run directory if it was made so before.

        `again` says of an earlier result whether it is made anew.
        """

        def timed(here: Path) -> dict[str, Any]:
            started = time.monotonic()
            return {**work(here), "seconds": time.monotonic() - started}

        path, config = self._run.path / name, config or {}
        if is_finished(path):
            record = read_record(path)
            other = any(record["config"].get(key) != value for key, value in config.items())
            # What was cut short is done anew where there is more time for it than it took.
            result, budget = record["result"], self._budget
            left = budget.left if name == ARTEFACTS else budget.left_for_trials
            cut = result.get("cut", False) and left > result["seconds"]
            if other or cut or again(result):
                return self._run.step(name, timed, config=config, force=True)
            self._budget.add(record["result"]["seconds"])
        return self._run.step(name, timed, config=config)

    def _holds(self, trial: Trial) -> bool:
        return not trial.failed and self._standard.holds(trial.result)

    def _tell(self) -> None:
        """Write what is best so far, and say it."""
        self._write("searching", self._earlier())
        best = best_first(self._done, self._how.goal, self._standard)
        holding = [trial for trial in best if self._holds(trial)]
        if holding:
            row = holding[0].result
            self._listener.stage(
                f"  best so far: {row['nonzeros']:,} of {self._dense['nonzeros']:,} weights, "
                f"{self._standard.text(row)} on the validation examples"
            )

    def _earlier(self) -> dict[str, Any] | None:
        """The artefacts of an earlier run in this directory, which stay until there are others."""
        path = self._run.path / ARTEFACTS
        return read_record(path)["result"] if is_finished(path) else None

    def _finish(self, plain: Mapping[str, bytes]) -> dict[str, Any]:
        """Export the best trials; `plain` are the dense model's files by runtime."""
        goal, host = self._how.goal, self._how.host
        chosen = best_first(self._done, goal, self._standard)[:_EXPORTED]
        whole = Trial(DENSE, (), self._source.parent, self._dense)
        found = self._step(
            ARTEFACTS,
            lambda here: finish(
                here,
                plain,
                [*((trial, self._model(trial)) for trial in chosen), (whole, self._source)],
                self._data,
                goal,
                self._standard,
                self._recipe,
                asked=self._how.asked,
                threads=self._how.threads,
                listener=self._listener,
                host=host,
                may_go_on=lambda: self._budget.left > 0,
                retrained=self._retrains,
            ),
            {
                "trials": [trial.name for trial in chosen],
                "goal": goal.describe(),
                "host": host and host.name,
            },
        )
        document = self._write("done", found)
        if not found["front"]:
            what = "no artefact of the search passed its check"
            raise CheckFailedError(what, value=found["failed"][0]["error"])
        return document

    def _recipe(self, trial: Trial) -> Recipe:
        return Recipe(
            model=self._run.identity["model"],
            data=self._data.data.digest,
            validation=len(self._data.validation),
            threads=self._how.threads,
            steps=trial.steps,
            export=self._standard.describe_accepted(),
            asked=self._how.asked,
        )

    def _write(self, state: str, found: dict[str, Any] | None) -> dict[str, Any]:
        goal, done = self._how.goal, self._done
        document = search_document(state, goal, self._standard, self._dense, done, found)
        write_json(self._run.path / SEARCH, document)
        return document
