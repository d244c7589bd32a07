"""Modules of the user's own: executed, so that Keras finds the classes and functions they define.

A file is executed once a process, and again only when it has changed. What it gives goes into
Keras's own registry, where everything that loads a model looks it up.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import inspect
import io
import os
import sys
import traceback
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compressor.errors import UsageError
from compressor.foundation import quiet_tensorflow
from compressor.foundation.device_errors import deploy_errors
from deploy.files import read_regular

_MOST_BYTES = 16 * 2**20
_REGISTER = "decorate its classes and functions with @keras.saving.register_keras_serializable()"
_KINDS = ("Layer", "Loss", "Metric", "Initializer", "Optimizer", "Quantizer", "Regularizer")


@dataclasses.dataclass(frozen=True)
class _Loaded:
    path: Path
    names: tuple[str, ...]
    files: Mapping[Path, str]
    """the module, and those of its folder that it imports, with their sha256"""


_loaded: dict[str, _Loaded] = {}
"""by file name"""


def load_custom(path: Path | str) -> tuple[str, ...]:
    """Execute a Python file that defines layers, losses or metrics; returns the names it gives.

    From then on, for the rest of the process, every call that loads a model knows its registered
    classes and functions (`keras.saving.register_keras_serializable`), and those that it only
    defines by their own names. It may import modules of its folder. What it prints is not shown.
    Run directories record its sha256. Raises UsageError for a file that cannot be read or
    executed, or gives nothing.
    """
    path = Path(path)
    source = _read(path)
    known = _loaded.get(path.name)
    if known is not None:
        if known.path != path.resolve():
            what = "two modules of your own have one name"
            raise UsageError(what, value=f"{known.path}, {path.resolve()}", hint="rename one")
        if all(_digest(_read(file)) == digest for file, digest in known.files.items()):
            return known.names
        _forget(known)
    _, keras = quiet_tensorflow.load()
    registry = keras.saving.get_custom_objects()
    with _importing(path.resolve().parent, registry):
        before, imported = dict(registry), set(sys.modules)
        module = _execute(path, source, _module_name(path.stem))
        names = {name for name, value in registry.items() if before.get(name) is not value}
        beside = {
            name: _file_of(sys.modules[name])
            for name in set(sys.modules) - imported - {module.__name__}
            if _file_of(sys.modules[name]).parent == path.resolve().parent
        }
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) in (module.__name__, *beside)
            known_to_keras = any(value is other for other in registry.values())
            if own and not known_to_keras and _is_usable(name, value, keras):
                registry[name] = value
                names.add(name)
        if not names:
            what = "the module gives no class or function that Keras could use"
            raise UsageError(what, value=path, hint=_REGISTER)
    files = {path.resolve(): source} | {file: _read(file) for file in beside.values()}
    shown = tuple(sorted(name.rpartition(">")[2] for name in names))
    digests = {file: _digest(content) for file, content in files.items()}
    _loaded[path.name] = _Loaded(path.resolve(), shown, digests)
    return shown


def custom_names() -> list[str]:
    """The classes and functions that the modules executed so far give."""
    return sorted(name for loaded in _loaded.values() for name in loaded.names)


def custom_digests() -> dict[str, str]:
    """File name -> sha256 of each module executed so far, with those that it imports."""
    return {
        name: _digest("".join(sorted(loaded.files.values())).encode())
        if len(loaded.files) > 1
        else loaded.files[loaded.path]
        for name, loaded in sorted(_loaded.items())
    }


def _read(path: Path) -> bytes:
    with deploy_errors(UsageError):
        return read_regular(path, _MOST_BYTES, "cannot read the module")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _forget(known: _Loaded) -> None:
    """Let the modules of a file that has changed be imported anew."""
    for name, module in list(sys.modules.items()):
        if _file_of(module) in known.files:
            del sys.modules[name]


def _module_name(stem: str) -> str:
    """The name that the user's own code imports it by, unless another module has it."""
    taken = stem in sys.modules or stem in sys.stdlib_module_names
    return f"custom_{stem}" if taken else stem


def _execute(path: Path, source: bytes, name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__file__, module.__package__ = str(path.resolve()), ""
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(source, module.__file__, "exec", dont_inherit=True), vars(module))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code may raise anything, SystemExit too
        what = "the module cannot be executed"
        raise UsageError(what, value=f"{path} ({_reason(error, module.__file__)})") from error
    return module


def _reason(error: BaseException, file: str) -> str:
    """The error in a line, with the last line of the module that it passed."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    place = f"line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {error}"[:300]


def _is_usable(name: str, value: Any, keras: Any) -> bool:
    """Whether Keras could ask for a value by this name, which is none of its own."""
    own = (keras.activations, keras.layers, keras.losses, keras.metrics, keras.initializers)
    if name.startswith("_") or any(hasattr(room, name) for room in own):
        return False
    kinds = tuple(getattr(keras, kind) for kind in _KINDS)
    if isinstance(value, type):
        return issubclass(value, (*kinds, keras.constraints.Constraint))
    return inspect.isfunction(value)


@contextlib.contextmanager
def _importing(folder: Path, registry: dict[str, Any]) -> Iterator[None]:
    """Let the body import modules of `folder`, last, so that they hide no others.

    If it fails, they and what was put into Keras's registry are taken back.
    """
    before, modules, path = dict(registry), set(sys.modules), os.fspath(folder)
    caches, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # in the user's folder
    sys.path.append(path)
    try:
        yield
    except BaseException:
        registry.clear()
        registry.update(before)
        for name in set(sys.modules) - modules:
            if _file_of(sys.modules[name]).parent == folder:
                del sys.modules[name]
        raise
    finally:
        sys.dont_write_bytecode = caches
        with contextlib.suppress(ValueError):
            sys.path.remove(path)


def _file_of(module: types.ModuleType | None) -> Path:
    """The file of a module; the root for one without."""
    return Path(getattr(module, "__file__", None) or os.sep)
