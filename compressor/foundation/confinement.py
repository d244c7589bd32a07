"""Libraries that leave nothing behind: no settings, caches or generated code of theirs."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from deploy import quiet_onnxruntime
from deploy.interrupts import Uninterrupted

_WRITING = ("tensorflow", "keras", "matplotlib")
# Without fonts and caches of the system: the figures use a font that matplotlib brings.
_NO_FONTS = "<fontconfig/>\n"


def confine_libraries() -> None:
    """Have libraries write to a temporary folder, which is removed when this process ends.

    Keras and matplotlib write settings and caches to the home directory, and TensorFlow leaves
    compiled code in the temporary one. The folder is made when the first of them is imported; a
    keras.json of the user's is read as before. For a command-line program: it changes the whole
    process and those that it starts. Later calls do nothing.
    """
    if any(isinstance(finder, _FolderMaker) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _FolderMaker())
    os.environ.update(quiet_onnxruntime.VARIABLES)
    # Keras imports it if it can, for galleries of images, and it looks through all fonts.
    sys.modules.setdefault("matplotlib.pyplot", None)  # type: ignore[arg-type]
    # urllib3, which TensorFlow imports, would bind a socket to see whether it can.
    socket.has_ipv6 = False


class _FolderMaker:
    """Finds no module, but sees which are looked for."""

    def __init__(self) -> None:
        self._made = False

    def find_spec(self, name: str, *_: Any) -> None:
        if name in _WRITING and not self._made:
            self._made = True
            _make_folder()


def _make_folder() -> None:
    with Uninterrupted():
        folder = Path(tempfile.mkdtemp(prefix="compressor-"))
        atexit.register(_remove, folder)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    if not _has_keras_settings():
        os.environ.setdefault("KERAS_HOME", str(folder / "keras"))
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))
    fonts = folder / "fonts.conf"
    fonts.write_text(_NO_FONTS)
    os.environ.setdefault("FONTCONFIG_FILE", str(fonts))


def _has_keras_settings() -> bool:
    try:
        return Path("~/.keras/keras.json").expanduser().exists()
    except (OSError, RuntimeError):  # no home directory, or not ours
        return False


def _remove(folder: Path) -> None:
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # an impatient Ctrl-C leaves nothing, either
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
    shutil.rmtree(folder, ignore_errors=True)
