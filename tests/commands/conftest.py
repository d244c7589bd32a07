"""A small data set, and the paper's whole line on it, for the tests of the command line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from command_line import Outcome, compressor, once, shared_folder, write_quadrants


@dataclasses.dataclass(frozen=True)
class PaperLine:
    """The paper's line, run on a small data set."""

    data: Path
    run: Path
    variables: Path
    outcome: Outcome

    def words(self, run: Path, variables: Path) -> list[str]:
        """The command's words, as Table 1 writes them, with folders of its own."""
        return [
            *("train", "-1", "-2", "-3", "--train_data_dir", str(self.data)),
            *("--train_dir", str(run), "--variables_dir", str(variables)),
            *("--max_steps", "10", "--batch_size", "32", "--sparse_ratio", "0.9"),
            *("--pruning_variable_names", "w_fc1,w_fc2", "--learning-rate", "0.002"),
        ]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="session")
def quadrants(shared: Path) -> Path:
    """An .npz of 600 training and 200 test images, 8 x 8, of 4 classes."""
    return once(shared, "cli-data", lambda folder: str(write_quadrants(folder / "d.npz")))[0]


@pytest.fixture(scope="session")
def paper_line(shared: Path, quadrants: Path) -> PaperLine:
    def make(folder: Path) -> Any:
        line = PaperLine(quadrants, folder / "run", folder / "kept", Outcome(0, "", ""))
        return dataclasses.asdict(compressor(*line.words(line.run, line.variables)))

    folder, outcome = once(shared, "cli-paper-line", make)
    return PaperLine(quadrants, folder / "run", folder / "kept", Outcome(**outcome))
