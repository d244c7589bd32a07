"""What was prepared: artefacts, test images and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from deploy.arrays import write_arrays
from deploy.errors import RequestError
from deploy.files import size_and_sha256

_MOST_FED = 4096
"""Rows that the batches of a measurement come from, unless one batch has more."""
_BATCHES_FED = 16


class Material:
    """What lies beside measure.py; raises RequestError where it is not as it was prepared.

    `work` is a folder for what the runner is fed.
    """

    def __init__(self, folder: Path, work: Path) -> None:
        try:
            plan = json.loads((folder / "artefacts.json").read_text())
            self.artefacts: list[dict[str, Any]] = plan["artefacts"]
            self.version: str = plan["compressor_version"]
            self.data: dict[str, Any] = plan["data"]
            with np.load(folder / "images.npz", allow_pickle=False) as stored:
                images, self.labels = stored["images"], stored["labels"]
            # Divided, as where the models were trained.
            self._images = images.astype(np.float32) / np.float32(255)
            self._images = self._images.reshape(len(images), *plan["row"])
            self._input: str = plan["input"]
            for artefact in self.artefacts:
                if size_and_sha256(folder / artefact["file"])[1] != artefact["sha256"]:
                    raise ValueError(f"{artefact['file']} is not what was prepared")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RequestError("the folder is not as it was prepared", value=error) from error
        self.folder, self._work = folder, work

    def all_images(self) -> str:
        """An .npz of all test images."""
        return self._written(len(self._images))

    def batches(self, batch: int) -> str:
        """An .npz of up to 16 batches of test images, repeated where they are too few."""
        return self._written(batch * min(_BATCHES_FED, max(_MOST_FED // batch, 1)))

    def _written(self, rows: int) -> str:
        path = self._work / f"{rows}.npz"
        if not path.exists():
            shape = (rows, *self._images.shape[1:])
            enough = rows <= len(self._images)
            kept = self._images[:rows] if enough else np.resize(self._images, shape)
            with open(path, "wb") as file:
                write_arrays(file, {self._input: kept})
        return str(path)
