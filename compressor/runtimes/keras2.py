"""Keras 2 (tf-keras), which reads legacy .h5 files: one package, for this Python's TensorFlow.

It runs in processes of its own, and never where Keras 3 is imported.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path

from compressor.errors import MissingRuntimeError
from compressor.runtimes.environments import Environment

NAME = "tf-keras"

# The version of TensorFlow that each belongs to -> version, and sha256 of its one wheel.
_WHEELS = {
    "2.18": ("2.18.0", "c431d04027eef790fcd3261cf7fdf93eb74f3cb32e05078b57b7f5a54bd53262"),
    "2.19": ("2.19.0", "4f339e800987b39d1548a8c76a7b33b6801a97ec7fcd89c299ec29741f7890bd"),
    "2.20": ("2.20.1", "3f0e0a34d9a4c8758f24fdc1053e6e335f16ab5534c7d34f1899b8924779760c"),
    "2.21": ("2.21.0", "f858bf3d97f892304e7fbcf5eb0942ed91674e27204f940a85de8c93cf07fe62"),
}
_CHECK = "import importlib.metadata; importlib.metadata.version('tf-keras')"
_PYTHONS = ((3, 11), (3, 12), (3, 13))
_MACHINES = ("x86_64", "aarch64", "arm64")


@dataclasses.dataclass(frozen=True)
class Keras2(Environment):
    """Its environment has no TensorFlow: `packages` goes on the path of this Python's processes."""

    def packages(self) -> Path:
        """The folder that tf_keras is in. Raises MissingRuntimeError where it is not installed."""
        self.python()
        return next((self.folder / "lib").glob("python*/site-packages"))


def environment() -> Keras2:
    """The environment for the TensorFlow that is installed; raises MissingRuntimeError."""
    try:
        installed = importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError as error:
        what = f"{NAME} needs TensorFlow"
        raise MissingRuntimeError(what, value=error, hint="pip install tensorflow") from error
    series = ".".join(installed.split(".")[:2])
    if series not in _WHEELS:
        raise MissingRuntimeError(
            f"no {NAME} is known for this TensorFlow",
            value=installed,
            hint=f"there is one for {', '.join(_WHEELS)}",
        )
    version, digest = _WHEELS[series]
    return Keras2(
        name=NAME,
        version=version,
        requirements=((f"tf-keras=={version}", (digest,)),),
        pythons=_PYTHONS,
        machines=tuple((s, m) for s in ("Linux", "Darwin") for m in _MACHINES),
        check=_CHECK,
    )
