"""The recipe of an artefact: a small document that makes it again from its model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError
from compressor.models import Asked
from compressor.runs import check_schema, check_version, load_schema, read_document
from compressor.searching.standard import VALIDATION

RECIPE_SUFFIX = ".recipe.json"
RECIPE_SCHEMA = "compressor.recipe"
RECIPE_SCHEMA_VERSION = 1
_FIELDS = ("model", "data", "validation", "threads", "steps", "export")
_ASKED = ("task", "metric")
_EXPORT = ("runtime", "quantize", "optimize", "bytes")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How an artefact was made; schema: compressor/runs/recipe.schema.json."""

    model: str
    """sha256 of the model file"""
    data: str
    """digest of the data set"""
    validation: int
    """how many training examples were set aside"""
    threads: int
    steps: tuple[Mapping[str, Any], ...]
    export: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """runtime, quantize and optimize; what is accepted of the metrics that decide, as
    accepted_accuracy; bytes, metrics as validation_accuracy, and sha256 of the artefact"""
    asked: Mapping[str, Asked] = dataclasses.field(default_factory=dict)
    """the `task` and the `metric` that the user named, of those that are"""

    def with_export(self, row: Mapping[str, Any], sha256: str) -> Recipe:
        """This recipe for the artefact of a front's `row`."""
        values = {key: row[key] for key in row if VALIDATION in key}
        export = {key: row[key] for key in _EXPORT} | values | {"sha256": sha256}
        return dataclasses.replace(self, export={**self.export, **export})

    def describe(self) -> dict[str, Any]:
        """The recipe as a document."""
        return {
            "schema": RECIPE_SCHEMA,
            "schema_version": RECIPE_SCHEMA_VERSION,
            **{name: getattr(self, name) for name in _FIELDS},
            "steps": [dict(step) for step in self.steps],
            **self.asked,
        }


def read_recipe(path: Path | str) -> Recipe:
    """Read a recipe; raises CheckpointError in one line for a file that is none."""
    document = read_document(Path(path), _check)
    fields: dict[str, Any] = {key: document[key] for key in _FIELDS}
    asked = {key: document[key] for key in _ASKED if key in document}
    return Recipe(**fields | {"steps": tuple(document["steps"]), "asked": asked})


def _check(document: Any) -> None:
    check_version(document, "recipe", RECIPE_SCHEMA, RECIPE_SCHEMA_VERSION)
    check_schema(document, load_schema("recipe.schema.json"), "recipe", "recipe")
    steps = document["steps"]
    for number, step in enumerate(steps):
        if step["kind"] == "narrow" and number:
            raise CheckpointError("only the first step of a recipe narrows", value=number + 1)
        if step.get("teacher", 0) > number:
            raise CheckpointError("a step of the recipe is taught by a later one", value=number + 1)
