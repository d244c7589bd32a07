"""The errors of the device side.

DeployError            what happened, the offending value, what to do
├── ArtifactError      a description, check vectors or an artefact that is damaged or another's
├── BundleError        a bundle that is damaged, altered, or not signed by a trusted key
├── RequestError       a request that the runner cannot serve: unknown, or its arrays do not fit
├── EngineError        the runtime refuses the artefact, or fails to run it
└── MissingEngineError the runtime is not there

Every message is one line: `what: value; hint`.
"""

from __future__ import annotations

from deploy.text import one_line

_LONGEST_VALUE = 500


class DeployError(Exception):
    """Base of all errors raised on purpose by this package; `str(error)` is one line."""

    def __init__(self, what: str, *, value: object = None, hint: str = "") -> None:
        self.what, self.value, self.hint = what, value, hint
        super().__init__(one_line(what, value, hint, _LONGEST_VALUE))


class ArtifactError(DeployError):
    """A description, check vectors or an artefact that is damaged, or belongs to another."""


class RequestError(DeployError):
    """A request that the runner cannot serve."""


class EngineError(DeployError):
    """The runtime refuses the artefact, or fails to run it."""


class MissingEngineError(DeployError):
    """The runtime is not there."""


class BundleError(DeployError):
    """A bundle that is damaged, altered, of another schema, or not signed by a trusted key."""
