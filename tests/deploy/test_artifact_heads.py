"""The description of an artefact that is no classifier, or gives several outputs."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from descriptions import DESCRIPTION

from deploy import Artifact, ArtifactError


def _port(name: str, *shape: int) -> dict[str, Any]:
    return {
        **{"name": name, "shape": [None, *shape], "dtype": "float32"},
        **{"scale": None, "zero_point": None},
    }


def _head(name: str, task: str, shape: list[int], metric: str, **more: Any) -> dict[str, Any]:
    head = {"name": name, "task": task, "shape": shape, "classes": 0, "threshold": None}
    return head | {"metric": metric, "shown": [metric]} | more


def _verified(**values: float) -> dict[str, Any]:
    run = {"runtime": "litert", "version": "2.3.0", "provider": None, "batch": 32, "examples": 40}
    return run | values | {"difference": 0.02}


@pytest.fixture
def one() -> dict[str, Any]:
    """A regression."""
    content = copy.deepcopy(DESCRIPTION)
    content["schema"]["version"] = 3
    content["outputs"] = [_port("scores", 1)]
    content |= {"outputs_are": "numbers", "classes": 0, "threshold": None, "labels": None}
    values = {"mean_absolute_error": 2.1, "reference_mean_absolute_error": 2.0}
    content["verified"] = [_verified(**values, validation_mean_absolute_error=1.9)]
    content["heads"] = [_head("", "regression", [1], "mean_absolute_error")]
    return content


@pytest.fixture
def several(one: dict[str, Any]) -> dict[str, Any]:
    """A mask and a class, which comes first in a row."""
    one["outputs"] = [_port("mask", 4, 4, 1), _port("kind", 4)]
    one |= {"outputs_are": "logits", "classes": 4, "labels": ["n", "e", "s", "w"]}
    values = {"kind/accuracy": 0.9, "kind/reference_accuracy": 0.91, "mask/mean_iou": 0.7}
    one["verified"] = [_verified(**values)]
    logits = {"outputs_are": "logits"}
    one["heads"] = [
        _head("kind", "classification", [4], "accuracy", classes=4, **logits),
        _head("mask", "segmentation", [4, 4, 1], "mean_iou", classes=2, threshold=0.0, **logits),
    ]
    return one


def test_a_description_with_heads_comes_back_as_it_was(one, several) -> None:
    for content in (copy.deepcopy(one), several):
        artifact = Artifact.parse(json.loads(json.dumps(content)))
        assert json.dumps(artifact.describe()) == json.dumps(content)
    assert artifact.tasks[1].shape == (4, 4, 1)
    assert artifact.verified[0].value("kind/reference_accuracy") == 0.91
    assert artifact.verified[0].value("mask/reference_mean_iou") is None


def test_of_one_classifier_nothing_is_new() -> None:
    artifact = Artifact.parse(copy.deepcopy(DESCRIPTION))

    assert artifact.heads is None and "heads" not in artifact.describe()
    (head,) = artifact.tasks
    assert (head.task, head.classes, head.metric) == ("classification", 4, "accuracy")
    assert artifact.verified[0].value(head.key()) == 0.975


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema", "version"), 2),
        (("heads",), None),
        (("heads",), []),
        (("heads", 0, "name"), "mask"),
        (("heads", 0, "task"), "guessing"),
        (("heads", 0, "task"), "regression"),
        (("heads", 0, "shape"), [5]),
        (("heads", 0, "shape"), [0]),
        (("heads", 0, "shape"), [2**40]),
        (("heads", 0, "classes"), 5),
        (("heads", 0, "metric"), "mean_iou"),
        (("heads", 0, "shown"), []),
        (("heads", 0, "shown"), ["accuracy", "mean_iou"]),
        (("heads", 0, "outputs_are"), "numbers"),
        (("heads", 1, "threshold"), "high"),
        (("heads", 1, "extra"), 1),
        (("classes",), 3),
        (("threshold",), 0.5),
        (("outputs_are",), "numbers"),
        (("verified", 0, "mask/auc"), 0.7),
        (("verified", 0, "kind/accuracy"), "high"),
        (("verified", 0, "values"), {}),
    ],
)
def test_heads_that_contradict_the_rest_are_refused(several, path: tuple, value: Any) -> None:
    place: Any = several
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(ArtifactError) as caught:
        Artifact.parse(several)

    message = str(caught.value)
    assert message.isprintable() and len(message) < 800


def test_heads_in_another_order_than_their_numbers_are_refused(several) -> None:
    several["heads"].reverse()

    with pytest.raises(ArtifactError, match="heads does not match the outputs"):
        Artifact.parse(several)


def test_what_a_mask_ignores_is_described(several) -> None:
    several["heads"][1]["ignored"] = 255

    artifact = Artifact.parse(json.loads(json.dumps(several)))

    assert artifact.tasks[1].ignored == 255
    assert json.dumps(artifact.describe()) == json.dumps(several)
    for place, value in ((1, "255"), (1, 2**40), (1, None), (0, 255)):
        several["heads"][1].pop("ignored", None)
        broken = copy.deepcopy(several)
        broken["heads"][place]["ignored"] = value
        with pytest.raises(ArtifactError):
            Artifact.parse(broken)
