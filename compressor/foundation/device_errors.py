"""From the errors of the device side to those of this program."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from compressor.errors import BundleError, CompressorError
from deploy.errors import DeployError


@contextlib.contextmanager
def deploy_errors(kind: type[CompressorError] = BundleError) -> Iterator[None]:
    """Turn what `deploy` refuses, a file that is damaged or not trusted, into a `kind` of ours."""
    try:
        yield
    except DeployError as error:
        raise kind(error.what, value=error.value, hint=error.hint) from error
