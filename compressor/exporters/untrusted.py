"""Loading files that nobody vouches for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compressor.errors import CheckpointError
from compressor.exporters.inspection import describe_content
from compressor.exporters.request import MICRO
from compressor.foundation import deploy_errors
from compressor.runtimes import Runner
from deploy.artifact import MOST_ARTIFACT_BYTES
from deploy.files import read_regular


def load_untrusted(runner: Runner, path: Path, *, graph: bool = False) -> dict[str, Any]:
    """What `Runner.load` returns, of a file that is read by our reader before TFLite Micro.

    TFLite Micro believes what a file says of its encoded weights, and reads out of bounds where
    that is wrong. Raises CheckpointError, in one line, for a file that is damaged.
    """
    if runner.runtime == MICRO:
        with deploy_errors(CheckpointError):
            content = read_regular(path, MOST_ARTIFACT_BYTES)
        try:
            describe_content(content, "tflite", path.parent)
        except CheckpointError as error:
            raise CheckpointError(error.what, value=f"{path.name}: {error.value}") from error
    return runner.load(path, graph=graph)
