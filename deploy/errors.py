"""The errors of the device side.

DeployError            what happened, the offending value, what to do
├── ArtifactError      a description, check vectors or artefact is damaged, or belongs to another
├── BundleError        a bundle is damaged, altered, or not signed by a trusted key
├── RequestError       a request cannot be served: it is unknown, or its arrays do not fit
│   └── StaleError     what it is based on has changed: it must be asked anew
├── EngineError        the runtime refuses the artefact, or fails to run it
└── MissingEngineError the runtime is not installed, or of another version

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

    @staticmethod
    def of(error: BaseException) -> DeployError:
        """`error` if it is one of these, else one that says what it means."""
        if isinstance(error, DeployError):
            return error
        if isinstance(error, ModuleNotFoundError):
            hint = f"pip install {error.name}"
            return MissingEngineError(f"{error.name} is not installed", hint=hint)
        if isinstance(error, MemoryError):
            return DeployError("out of memory")
        return DeployError("the operating system refused", value=error)


class ArtifactError(DeployError):
    """A description, check vectors or artefact that is damaged, or belongs to another."""


class RequestError(DeployError):
    """A request that the runner cannot serve."""


class StaleError(RequestError):
    """A request whose basis has changed, by another process: it must be asked anew."""


class EngineError(DeployError):
    """The runtime refuses the artefact, or fails to run it."""


class MissingEngineError(DeployError):
    """The runtime is not installed, or of another version."""


class BundleError(DeployError):
    """A bundle that is damaged, altered, of another schema, or not signed by a trusted key."""
