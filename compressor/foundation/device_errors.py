"""From the errors of the device side to those of this program."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from compressor.errors import BundleError
from deploy.errors import DeployError


@contextlib.contextmanager
def deploy_errors() -> Iterator[None]:
    """Turn what `deploy` refuses, a file that is damaged or not trusted, into a BundleError."""
    try:
        yield
    except DeployError as error:
        raise BundleError(
            error.what, value="" if error.value is None else error.value, hint=error.hint
        ) from error
