"""The versions of the libraries that the numbers of an experiment depend on."""

from __future__ import annotations

import importlib.metadata
import platform

from compressor._version import __version__

_LIBRARIES = ("tensorflow", "keras", "numpy", "scipy")


def library_versions() -> dict[str, str]:
    """Name -> installed version; nothing is imported."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def experiment_versions() -> dict[str, str]:
    """The same, with those of this package and of Python, for a step that is done now."""
    own = {"compressor": __version__, "python": platform.python_version()}
    return own | library_versions()
