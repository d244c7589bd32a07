"""From stored examples to probabilities, and from a file's bytes to stored examples."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deploy.artifact import Artifact, read_artifact
from deploy.artifact_parts import InputRule, Port
from deploy.errors import EngineError, RequestError
from deploy.images.colours import resized
from deploy.images.reader import ExampleReader
from deploy.model import Model
from deploy.vectors import CheckVectors


@pytest.fixture(scope="module")
def artifact(artefacts: Path) -> Artifact:
    return read_artifact(artefacts / "float.tflite")


def with_predict(artifact: Artifact, predict: Any) -> Model:
    """A model whose runtime does this."""
    bundle: Any = SimpleNamespace(artifact=artifact)
    engine: Any = SimpleNamespace(predict=predict)
    return Model(bundle, engine)


def classify(artifact: Artifact, scores: Any) -> Any:
    """What a model says whose runtime gives these scores."""
    found = np.array(scores, np.float32)
    return with_predict(artifact, lambda fed, batch: found).classify(
        {"": np.zeros((len(found), 8, 8), np.uint8)}
    )


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("in_memory", [True, False])
def test_what_a_runtime_prints_while_it_loads_is_shown_where_that_matters(
    artifact: Artifact, monkeypatch: Any, capfd: Any, fails: bool, in_memory: bool
) -> None:
    class Talkative:
        def __init__(self, path: str, threads: int, version: str | None) -> None:
            os.write(2, b"INFO: created a delegate\nW0000 careful\n")
            if fails:
                raise EngineError("refused")

    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("deploy.model.engine_class", lambda runtime: Talkative)
    manifest = SimpleNamespace(runtime="some", runtime_version="1")
    bundle: Any = SimpleNamespace(artifact=artifact, manifest=manifest, model=b"x")
    with contextlib.suppress(EngineError):
        Model.load(bundle)
        os.write(2, b"INFO: later\n")

    said = capfd.readouterr().err
    if fails:
        assert said == "INFO: created a delegate\nW0000 careful\n"
    else:
        assert said == "W0000 careful\nINFO: later\n"


def test_numbers_that_overflow_are_no_warnings(artifact: Artifact) -> None:
    """Of a client's numbers nothing comes on standard error."""
    model = with_predict(
        artifact,
        lambda fed, batch: next(iter(fed.values())).reshape(1, -1)[:, :4] * np.float32(1e30),
    )
    with pytest.raises(EngineError, match="outputs hold NaN or infinity"):
        model.classify({"": np.full((1, 8, 8), 3e38, np.float32)})


@pytest.mark.parametrize(
    "array",
    [
        np.full((8, 8), np.nan, np.float32),
        np.full((8, 8), np.inf, np.float16),
        np.full((8, 8), 1e300),
    ],
)
def test_what_is_no_number_in_the_model_s_type_is_refused(
    artifact: Artifact, array: np.ndarray
) -> None:
    named = io.BytesIO()
    np.savez(named, image=array[None])
    for content in (npy(array), named.getvalue()):
        with pytest.raises(RequestError, match="NaN or infinity"):
            reader(artifact).read(content, "it")


def test_logits_become_probabilities_without_overflow(artifact: Artifact) -> None:
    found = classify(artifact, [[1000, 0, 0, 0], [0, np.log(3), 0, -1000]])

    assert found.probabilities.dtype == np.float32
    assert np.allclose(found.probabilities, [[1, 0, 0, 0], [0.2, 0.6, 0.2, 0]], atol=1e-6)
    assert found.classes.tolist() == [0, 1]
    assert [found.label(0), found.label(1)] == ["0", "1"]
    assert [label for label, _ in found.ranking(1, 2)] == ["1", "0"]
    assert found.describe(1)["probability"] == pytest.approx(0.6, abs=1e-5)


def test_probabilities_stay_and_labels_are_named(artifact: Artifact) -> None:
    named = dataclasses.replace(
        artifact, outputs_are="probabilities", labels=("north", "east", "south", "west")
    )
    found = classify(named, [[0.1, 0.2, 0.3, 0.4]])

    assert np.allclose(found.probabilities, [[0.1, 0.2, 0.3, 0.4]])
    assert found.label(0) == "west"


@pytest.mark.parametrize(
    ("outputs_are", "threshold", "score", "probability", "chosen"),
    [
        ("logits", 0.0, 0.0, 0.5, 0),
        ("logits", 0.0, 2000.0, 1.0, 1),
        ("logits", 0.0, -2000.0, 0.0, 0),
        ("probabilities", 0.5, 0.8, 0.8, 1),
        ("probabilities", 0.9, 0.8, 0.8, 0),
    ],
)
def test_one_score_becomes_two_probabilities(
    artifact: Artifact,
    outputs_are: str,
    threshold: float,
    score: float,
    probability: float,
    chosen: int,
) -> None:
    binary = dataclasses.replace(artifact, outputs_are=outputs_are, threshold=threshold, classes=2)
    found = classify(binary, [[score]])

    assert np.allclose(found.probabilities, [[1 - probability, probability]], atol=1e-6)
    assert found.classes.tolist() == [chosen]


@pytest.mark.parametrize("scores", [[[np.nan, 0, 0, 0]], [[1, 2, 3]], [1, 2, 3, 4]])
def test_outputs_that_are_no_scores_are_an_error(artifact: Artifact, scores: Any) -> None:
    with pytest.raises(EngineError, match=r"not have one score a class|hold NaN or infinity"):
        classify(artifact, scores)


def reader(
    artifact: Artifact,
    shape: tuple[int | None, ...] = (8, 8, 1),
    *,
    scale: float = 1 / 255,
    known: Any = None,
    **options: Any,
) -> ExampleReader:
    """A reader for one input of this shape, whose check vectors hold `known`."""
    rule = InputRule("image", "", shape, "float32", scale, "for a test")
    changed = dataclasses.replace(
        artifact, inputs=(Port("image", (None, *shape), "float32"),), preprocessing=(rule,)
    )
    rows = np.zeros((1, 1), np.float32) if known is None else np.array(known, np.float32)
    vectors = CheckVectors({"image": rows}, np.zeros((1, 4), np.float32), 0.0)
    return ExampleReader(changed, lambda: vectors, **options)


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


IMAGES = np.random.default_rng(4).integers(0, 256, (5, 8, 8), dtype=np.uint8)
COLOURED = np.random.default_rng(5).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "content",
    [npy(IMAGES), npy(IMAGES[..., None]), npy(IMAGES.astype(np.float32)[..., None])],
    ids=["rows", "with a channel", "of floats"],
)
def test_arrays_of_examples_stay_as_they_are(artifact: Artifact, content: bytes) -> None:
    (found,) = reader(artifact).read(content, "it").values()
    assert np.array_equal(found.reshape(IMAGES.shape), IMAGES)


@pytest.mark.parametrize("content", [png(IMAGES[0]), npy(IMAGES[0]), npy(IMAGES[0][..., None])])
def test_one_example_is_a_row(artifact: Artifact, content: bytes) -> None:
    (found,) = reader(artifact).read(content, "it").values()
    assert np.array_equal(found.reshape(1, 8, 8), IMAGES[:1])


def test_colour_becomes_grey_as_pillow_does_it_and_grey_colour(artifact: Artifact) -> None:
    (grey,) = reader(artifact).read(png(COLOURED), "it").values()
    (colour,) = reader(artifact, (8, 8, 3)).read(png(IMAGES[0]), "it").values()
    (same,) = reader(artifact, (8, 8, 3)).read(png(COLOURED), "it").values()
    (flat,) = reader(artifact, (64,)).read(png(IMAGES[0]), "it").values()

    assert np.array_equal(grey[0, ..., 0], np.asarray(Image.fromarray(COLOURED).convert("L")))
    assert all(np.array_equal(colour[0, ..., channel], IMAGES[0]) for channel in range(3))
    assert np.array_equal(same[0], COLOURED)
    assert np.array_equal(flat.ravel(), IMAGES[0].ravel())


def test_what_is_transparent_is_white(artifact: Artifact) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[0, 0, 3] = 255
    (found,) = reader(artifact).read(png(pixels), "it").values()
    (inverted,) = reader(artifact, invert=True).read(png(pixels), "it").values()

    assert found[0, 0, 0, 0] == 0
    assert found[0, 1:].min() == 255
    assert np.array_equal(inverted, 255 - found)


def test_resizing_takes_means_of_areas() -> None:
    picture = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1) * 10
    assert resized(picture, 2, 2)[0, ..., 0].tolist() == [[25, 45], [105, 125]]
    assert np.array_equal(resized(picture, 4, 4), picture)
    assert np.array_equal(resized(picture, 8, 8)[:, ::2, ::2], picture)
    thirds = resized(np.array([[[[0], [90], [90]]]], np.uint8), 1, 2)
    assert thirds[0, 0, :, 0].tolist() == [30, 90]


def test_pixels_are_brought_into_the_range_that_the_model_was_trained_on(
    artifact: Artifact,
) -> None:
    """A model of stored floats, 0 to 1, gets such; its check vectors show that it does."""
    unit = reader(artifact, scale=1.0, known=[[0.0, 1.0]])
    rescaling = reader(artifact, scale=1.0, known=[[0.0, 255.0]])
    signed = reader(artifact, scale=1.0, known=[[-1.0, 1.0]])

    (found,) = unit.read(png(IMAGES[0]), "it").values()
    assert np.allclose(found[0, ..., 0], IMAGES[0] / 255)
    (found,) = rescaling.read(png(IMAGES[0]), "it").values()
    assert np.array_equal(found[0, ..., 0], IMAGES[0])
    with pytest.raises(RequestError, match="not trained on pixels"):
        signed.read(png(IMAGES[0]), "it")
    (found,) = signed.read(npy(-np.ones((2, 8, 8), np.float32)), "it").values()
    assert found.min() == -1


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (png(np.zeros((9, 8))), {}, "8 x 9, the model takes 8 x 8"),
        (npy(np.zeros((2, 9, 8), np.uint8)), {}, "another size"),
        (npy(np.zeros((0, 8, 8), np.uint8)), {}, "no examples"),
        (npy(np.zeros((2, 8, 8), np.float32)), {"invert": True}, "only pictures of uint8"),
        (npy(np.array(["text"])), {}, "array has a type that cannot be used"),
        (
            npy(np.zeros((2, 8, 8), np.uint8))[:-1],
            {},
            "contradicts itself: some file (shape (2, 8, 8) of uint8, but 127 bytes)",
        ),
        (png(np.zeros((99, 99))), {"most_pixels": 100}, "99 x 99"),
        (png(np.zeros((99, 99))), {"resize": True, "most_bytes": 100}, "too much to resize"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    artifact: Artifact, content: bytes, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError) as caught:
        reader(artifact, **options).read(content, "some file")
    assert said in str(caught.value)
    assert "some file" in str(caught.value)
    assert str(caught.value).isprintable()


def test_flat_rows_are_no_picture(artifact: Artifact) -> None:
    for rows in (IMAGES.reshape(5, 64), IMAGES.reshape(5, 64).astype(np.float32)):
        (found,) = reader(artifact).read(npy(rows), "it").values()
        assert np.array_equal(found.reshape(IMAGES.shape), IMAGES)


def test_planes_of_colours_are_not_taken_for_grey_pictures(artifact: Artifact) -> None:
    """Three grey pictures, or one whose colours come first: nobody can tell."""
    coloured = reader(artifact, (8, 8, 3))
    with pytest.raises(RequestError, match=r"it has \[3, 8, 8\].* as \[3, 8, 8, 1\]"):
        coloured.read(npy(IMAGES[:3]), "it")
    (grey,) = coloured.read(npy(IMAGES[:3, ..., None]), "it").values()
    (four,) = coloured.read(npy(IMAGES[:4]), "it").values()
    (one,) = coloured.read(npy(COLOURED), "it").values()
    assert len(grey) == 3 and len(four) == 4 and np.array_equal(one[0], COLOURED)


def test_a_model_of_several_inputs_takes_an_npz_of_their_names(artifact: Artifact) -> None:
    rules = tuple(InputRule(name, name, (3,), "float32", 1.0, "test") for name in ("a", "b"))
    ports = tuple(Port(name, (None, 3), "float32") for name in ("a", "b"))
    several = dataclasses.replace(artifact, inputs=ports, preprocessing=rules)
    vectors = CheckVectors(
        {name: np.zeros((1, 3), np.float32) for name in "ab"}, np.zeros((1, 4), np.float32), 0.0
    )
    stream = io.BytesIO()
    np.savez(stream, a=np.ones((2, 3)), b=np.zeros((2, 3)))

    found = ExampleReader(several, lambda: vectors).read(stream.getvalue(), "it")
    assert set(found) == {"a", "b"}
    with pytest.raises(RequestError, match=r"several inputs.*a, b"):
        ExampleReader(several, lambda: vectors).read(png(IMAGES[0]), "it")
