"""A sweep of a small data set, undisturbed, that other runs are compared with."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, compressor, once, results_of, shared_folder, write_quadrants


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """A finished sweep, and how to do it again."""

    run: Path
    data: Path
    outcome: Outcome

    @property
    def results(self) -> Any:
        return results_of(self.run)

    def words(self, run: Path, *changes: object) -> list[str]:
        """The command that makes this sweep in `run`; the last of two options counts."""
        return [
            *("sweep", "--data", str(self.data / "d.npz"), "-o", str(run)),
            *("--sparsities", "0.5,0.9", "--max-steps", "10", "--batch-size", "32"),
            *map(str, changes),
        ]

    def copy(self, folder: Path) -> Path:
        """A copy of the run; its files must be replaced, not written to."""
        # A lock belongs to the file, whatever its name: a linked one would be that of all copies.
        return Path(
            shutil.copytree(
                self.run,
                folder / "run",
                copy_function=os.link,
                ignore=shutil.ignore_patterns(".lock"),
            )
        )


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    shared = shared_folder(tmp_path_factory.getbasetemp())

    def make(folder: Path) -> Any:
        write_quadrants(folder / "data" / "d.npz")
        sweep = Undisturbed(folder / "run", folder / "data", Outcome(0, "", ""))
        return dataclasses.asdict(compressor(*sweep.words(sweep.run)))

    folder, outcome = once(shared, "sweep", make)
    return Undisturbed(folder / "run", folder / "data", Outcome(**outcome))
