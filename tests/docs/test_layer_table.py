"""The table of layers in docs/export.md: it is what the stored results say, and they are true."""

from __future__ import annotations

import pytest
from layer_catalogue import ELSEWHERE, ENTRIES, Entry
from layer_table import COLUMNS, PAGE, filled, measured, stored

SAMPLE = ("Conv2DTranspose", "EinsumDense on the last axis", "PReLU", "Embedding", "Add")
"""Layers that are tried each time, the others in the slow test."""


def test_the_page_has_the_table_of_the_stored_results() -> None:
    assert PAGE.read_text() == filled(PAGE.read_text(), stored()), "run make layers"


def test_every_layer_of_keras_is_in_the_table_or_said_to_be_elsewhere(keras) -> None:
    named = {name.split()[0].strip(",") for name in stored()}
    named |= {name for names in ELSEWHERE for name in names.split(", ")}
    public = {
        name: cls
        for name, cls in vars(keras.layers).items()
        if isinstance(cls, type) and issubclass(cls, keras.layers.Layer)
    }
    # A class may have several names, as MaxPool2D and MaxPooling2D.
    covered = {public[name] for name in named}
    assert not {cls.__name__ for cls in set(public.values()) - covered}
    assert [entry.name for entry in ENTRIES] == list(stored())


def check(entry: Entry) -> None:
    found, kept = measured(entry), stored()[entry.name]
    assert {c: found[c] for c in COLUMNS} == {c: kept[c] for c in COLUMNS}, found


@pytest.mark.slow
@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name in SAMPLE], ids=lambda e: e.name)
def test_a_layer_does_what_the_table_says(entry: Entry) -> None:
    check(entry)


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.name not in SAMPLE], ids=lambda e: e.name
)
def test_every_other_layer_does(entry: Entry) -> None:
    check(entry)
