"""The masks of a segmentation, written as PNG files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.answers import Answers, HeadAnswers, Predictions
from deploy.artifact import is_file_name
from deploy.errors import RequestError
from deploy.files import atomic_paths
from deploy.images.masks import encode_mask
from deploy.tasks import SEGMENTATION

_STANDARD_INPUT = "-"


class Masks:
    """Writes masks as FILE-INDEX.mask.png into `folder`, by default beside each of the `files`.

    What is no picture, such as the labels of a sequence, is written only where a folder is named:
    there that raises RequestError, and so do two masks of one name, and one that cannot be written.
    """

    def __init__(self, folder: Path | None, files: Sequence[str]) -> None:
        self._folder = folder
        if folder is not None and not folder.is_dir():
            hint = "make it, or name another"
            raise RequestError("there is no such folder for masks", value=folder, hint=hint)
        if folder is None and _STANDARD_INPUT in files:
            hint = "name a folder for them with --masks"
            raise RequestError("standard input has no folder for masks", value="-", hint=hint)
        places = [self._place(name) for name in files]
        if len(set(places)) < len(places):
            twice = next(place for place in places if places.count(place) > 1)
            hint = "run one after the other, with other folders for --masks"
            raise RequestError("two files would have the same masks", value=twice.name, hint=hint)

    def write(
        self, name: str, index: int, answers: Answers | Predictions, number: int
    ) -> dict[str, str]:
        """Write the masks of example `number` of the answers; returns paths by the outputs."""
        found: dict[str, str] = {}
        for place, part in enumerate(answers.parts if isinstance(answers, Answers) else ()):
            if part.head.task == SEGMENTATION:
                written = self._written(name, index, place, part, number)
                found |= {part.head.name: str(written)} if written else {}
        return found

    @staticmethod
    def described(described: dict[str, Any], written: dict[str, str]) -> dict[str, Any]:
        """An example as a JSON object, with the files in place of the masks themselves."""
        for name, path in written.items():
            (described["outputs"][name] if name else described)["mask"] = path
        return described

    def _place(self, name: str) -> Path:
        own = "stdin" if name == _STANDARD_INPUT else Path(name).name
        return (self._folder or Path(os.path.realpath(Path(name).parent))) / own

    def _written(
        self, name: str, index: int, place: int, part: HeadAnswers, number: int
    ) -> Path | None:
        own = part.head.name if is_file_name(part.head.name) else str(place)
        end = f"-{own}" if part.head.name else ""
        beside = self._place(name)
        path = beside.with_name(f"{beside.name}-{index}{end}.mask.png")
        try:
            content = encode_mask(part.mask(number))
        except RequestError:
            if self._folder is not None:
                raise
            return None
        try:
            with atomic_paths(path) as (made,):
                made.write_bytes(content)
        except OSError as error:
            value = f"{path} ({error.strerror or error})"
            raise RequestError("a mask cannot be written", value=value) from error
        return path
