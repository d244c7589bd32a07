"""onnxruntime-web, which runs artefacts in browsers: a pinned npm package.

Its tarball is fetched into the user's cache by npm, with the user's configuration, and checked
against a pinned hash whenever it is read. None of its scripts run here, npm asks its registry for
nothing else, and keeps no copy or log of its own.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from compressor.errors import CompressorError, MissingRuntimeError, UsageError
from compressor.foundation import temporary_folder, write_bytes
from compressor.runtimes.environments import cache_folder, cache_lock
from deploy.errors import ArtifactError
from deploy.files import read_regular

_FETCH_SECONDS = 600
_NPM_SETTINGS = {
    "npm_config_update_notifier": "false",
    "npm_config_logs_max": "0",
    "NODE_DISABLE_COMPILE_CACHE": "1",
}


@dataclasses.dataclass(frozen=True)
class NpmPackage:
    """One version of an npm package, pinned by the hash of its tarball."""

    name: str
    version: str
    sha512: str
    """of the tarball, in base64, as npm's integrity field has it"""
    size: int
    """bytes of the tarball"""

    @property
    def path(self) -> Path:
        return cache_folder() / "npm" / f"{self.name}-{self.version}.tgz"

    def missing(self) -> str:
        """Why the tarball cannot be used; an empty string where it can."""
        try:
            found = self.path.stat().st_size
        except OSError:
            return "has not been fetched"
        except UsageError as error:
            return f"has not been fetched ({error.what})"
        return "" if found == self.size else "is damaged"

    def state(self) -> str:
        """The package's version, and whether it has been fetched, in words."""
        missing = self.missing()
        said = f"{missing}; compressor runtimes install {self.name}" if missing else "is there"
        return f"its package {self.version} {said}"

    def fetch(self) -> Path:
        """Have npm fetch the tarball, unless it is there; safe for several processes at once.

        Raises MissingRuntimeError where there is no npm, it cannot fetch, or the bytes are not
        those pinned; StorageError for a full disk.
        """
        with cache_lock(self.path):
            if self.missing():
                write_bytes(self.path, self._fetched())
        return self.path

    def read(self, tarball: Path | None = None) -> bytes:
        """The checked bytes of `tarball`, or of the one in the cache, which is fetched if needed.

        Raises UsageError for a `tarball` that cannot be read or is another one, and
        MissingRuntimeError as `fetch` does.
        """
        if tarball is not None:
            return self._checked(tarball, UsageError, self._hint())
        return self._cached(self.fetch())

    def members(self, wanted: Mapping[str, int], tarball: Path | None = None) -> dict[str, bytes]:
        """Files of the package, name -> content, read in memory; `wanted` has the size of each.

        Raises as `read` does.
        """
        import tarfile

        content = self.read(tarball)
        found: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for entry in archive:
                name = entry.name.removeprefix("package/")
                if name in wanted and entry.isreg() and entry.size == wanted[name]:
                    stream = archive.extractfile(entry)
                    found[name] = b"" if stream is None else stream.read(wanted[name])
                if len(found) == len(wanted):
                    return found
        raise MissingRuntimeError(
            f"{self.name} {self.version} lacks a file", value=min(set(wanted) - set(found))
        )

    def _fetched(self) -> bytes:
        npm = shutil.which("npm")
        if npm is None:
            raise MissingRuntimeError(
                f"{self.name} cannot be fetched", value="there is no npm here", hint=self._hint()
            )
        with temporary_folder("compressor-npm-") as folder:
            # An empty folder: npm reads neither a package.json nor an .npmrc of another project.
            command = [npm, "pack", f"{self.name}@{self.version}", "--ignore-scripts", "--silent"]
            try:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    env={**os.environ, "npm_config_cache": f"{folder}/cache", **_NPM_SETTINGS},
                    capture_output=True,
                    text=True,
                    errors="replace",
                    stdin=subprocess.DEVNULL,
                    timeout=_FETCH_SECONDS,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise self._not_fetched(str(error)) from error
            packed = list(folder.glob("*.tgz"))
            if done.returncode or len(packed) != 1:
                lines = [line for line in done.stderr.splitlines() if line.strip()]
                raise self._not_fetched(lines[0] if lines else f"npm ended with {done.returncode}")
            return self._cached(packed[0])

    def _cached(self, path: Path) -> bytes:
        return self._checked(path, MissingRuntimeError, "remove the file, and fetch it again")

    def _checked(self, path: Path, refusal: type[CompressorError], hint: str) -> bytes:
        what = f"this is not the tarball of {self.name} {self.version}"
        try:
            content = read_regular(path, self.size)
        except ArtifactError as error:
            raise refusal(what, value=error, hint=hint) from error
        digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
        if digest != self.sha512:
            found = f"{path} has sha512-{digest}, pinned is sha512-{self.sha512}"
            raise refusal(what, value=found, hint=hint)
        return content

    def _not_fetched(self, why: str) -> MissingRuntimeError:
        return MissingRuntimeError(
            f"npm cannot fetch {self.name} {self.version}", value=why[:500], hint=self._hint()
        )

    def _hint(self) -> str:
        return f"give the tarball that `npm pack {self.name}@{self.version}` writes elsewhere"


PACKAGE = NpmPackage(
    name="onnxruntime-web",
    version="1.30.0",
    sha512="q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    size=33_106_585,
)

# The smallest build: WebAssembly alone, without WebGL, WebGPU and WebNN. The .mjs includes the
# loader; it is renamed, since not every web server serves that suffix as JavaScript.
_FILES = {
    "dist/ort.wasm.bundle.min.mjs": ("runtime/ort.js", 73_054),
    "dist/ort-wasm-simd-threaded.wasm": ("runtime/ort.wasm", 14_239_897),
}

# The package names its licence (MIT) and copyright, but does not contain the text.
_LICENCE = """\
onnxruntime-web {version}: ort.js and ort.wasm in this folder, from the npm package of that name.

MIT License

Copyright (c) Microsoft Corporation. All rights reserved.

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def site_files(tarball: Path | None = None) -> dict[str, bytes]:
    """The files that a page needs: runtime/ort.js, runtime/ort.wasm, runtime/LICENSE.

    From `tarball`, or from the user's cache, fetched once. Raises UsageError where `tarball` is not
    the pinned one, MissingRuntimeError where it cannot be fetched.
    """
    found = PACKAGE.members({name: size for name, (_, size) in _FILES.items()}, tarball)
    files = {placed: found[name] for name, (placed, _) in _FILES.items()}
    return files | {"runtime/LICENSE": _LICENCE.format(version=PACKAGE.version).encode()}
