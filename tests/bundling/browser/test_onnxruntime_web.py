"""The package that runs in browsers: the pinned bytes or none."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import shutil
import stat
import tarfile
from pathlib import Path

import pytest
from empty_home import EmptyHome
from package_index import package_index

from compressor import runtimes
from compressor.errors import MissingRuntimeError, UsageError
from compressor.runtimes import onnxruntime_web
from compressor.runtimes.onnxruntime_web import PACKAGE, NpmPackage


def packed(files: dict[str, bytes], *, linked: bool = True) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if linked:
            link = tarfile.TarInfo("package/link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    return stream.getvalue()


CONTENT = packed({"package/wanted": b"12345", "../outside": b"x", "package/other": b"y"})
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])


@pytest.fixture
def toy() -> NpmPackage:
    digest = base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()
    return NpmPackage("toy", "1.5.0", digest, len(CONTENT))


@pytest.fixture
def npm(monkeypatch, tmp_path) -> Path:
    """A folder on the PATH, first for an npm of the test's; and an empty cache."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    return folder / "npm"


def write_npm(npm: Path, script: str) -> None:
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)


def test_npm_fetches_it_once_and_runs_no_script(npm, toy, tmp_path) -> None:
    (tmp_path / "toy.tgz").write_bytes(CONTENT)
    asked = tmp_path / "asked"
    write_npm(npm, f'echo "$@" >> {asked}\ncp {tmp_path}/toy.tgz toy-1.5.0.tgz')

    assert toy.missing() == "has not been fetched"
    assert toy.fetch().read_bytes() == CONTENT == toy.fetch().read_bytes()
    assert toy.missing() == ""
    assert asked.read_text().split() == ["pack", "toy@1.5.0", "--ignore-scripts", "--silent"]
    assert toy.members({"wanted": 5}) == {"wanted": b"12345"}
    assert toy.members({"wanted": 5}, tmp_path / "toy.tgz") == {"wanted": b"12345"}
    assert len(asked.read_text().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_real_npm_leaves_nothing_and_asks_for_nothing_else(monkeypatch, tmp_path) -> None:
    manifest = {"name": "toy", "version": "1.5.0"}
    content = packed({"package/package.json": json.dumps(manifest).encode()}, linked=False)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    home = EmptyHome(tmp_path / "empty")
    for name, value in home.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    with package_index() as index:
        monkeypatch.setenv("npm_config_registry", index.url)
        dist = {"tarball": f"{index.url}/toy.tgz", "integrity": f"sha512-{digest}"}
        listed = {**manifest, "versions": {"1.5.0": {**manifest, "dist": dist}}}
        index.files["/toy"] = ("application/json", json.dumps(listed).encode())
        index.files["/toy.tgz"] = ("application/octet-stream", content)
        fetched = NpmPackage("toy", "1.5.0", digest, len(content)).fetch().read_bytes()

    assert fetched == content
    assert home.left() == [] and set(index.asked) == {"/toy", "/toy.tgz"}


def test_other_bytes_than_the_pinned_ones_are_not_kept(npm, toy, rejected, tmp_path) -> None:
    (tmp_path / "toy.tgz").write_bytes(OTHER)
    write_npm(npm, f"cp {tmp_path}/toy.tgz toy-1.5.0.tgz")

    message = rejected(MissingRuntimeError, toy.fetch)
    assert "not the tarball of toy 1.5.0" in message and toy.sha512 in message
    assert toy.missing() == "has not been fetched"
    for content in (OTHER, CONTENT + b"\0", b""):
        (tmp_path / "toy.tgz").write_bytes(content)
        assert "not the tarball" in rejected(UsageError, toy.read, tmp_path / "toy.tgz")
    for wrong in (tmp_path / "absent.tgz", tmp_path):
        message = rejected(UsageError, toy.read, wrong)
        assert "not the tarball" in message and "npm pack toy@1.5.0" in message


def test_a_cache_that_was_altered_is_not_used(npm, toy, rejected) -> None:
    toy.path.parent.mkdir(parents=True)
    toy.path.write_bytes(OTHER)

    assert "remove the file" in rejected(MissingRuntimeError, toy.members, {"wanted": 5})


def test_an_npm_that_fails_is_quoted_in_one_line(npm, toy, rejected) -> None:
    write_npm(npm, 'echo "npm error code E404" >&2\necho "npm error more" >&2\nexit 1')
    message = rejected(MissingRuntimeError, toy.fetch)

    assert message.startswith("npm cannot fetch toy 1.5.0: npm error code E404; ")
    assert "npm pack toy@1.5.0" in message
    write_npm(npm, "true")
    assert "npm ended with 0" in rejected(MissingRuntimeError, toy.fetch)


def test_without_npm_it_is_said_what_to_do(npm, toy, rejected, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(npm.parent))
    message = rejected(MissingRuntimeError, toy.fetch)

    assert "there is no npm here" in message and "npm pack toy@1.5.0" in message
    assert MissingRuntimeError.exit_code == 3


@pytest.mark.parametrize("wanted", [{"absent": 1}, {"wanted": 4}, {"link": 0}])
def test_only_regular_files_of_the_known_size_are_read(
    npm, toy, rejected, tmp_path, wanted
) -> None:
    (tmp_path / "toy.tgz").write_bytes(CONTENT)
    assert "lacks a file" in rejected(
        MissingRuntimeError, toy.members, wanted, tmp_path / "toy.tgz"
    )


def test_runtimes_say_whether_it_is_there(npm, toy, monkeypatch, tmp_path) -> None:
    (tmp_path / "toy.tgz").write_bytes(CONTENT)
    write_npm(npm, f"cp {tmp_path}/toy.tgz toy-1.5.0.tgz")
    web = dataclasses.replace(runtimes.RUNTIMES["onnxruntime-web"], tarball=toy)
    monkeypatch.setitem(runtimes.RUNTIMES, "onnxruntime-web", web)
    (row,) = [row for row in runtimes.describe() if row["name"] == "onnxruntime-web"]

    assert row["state"] == "substituted" and "on the CPU" in row["reason"]
    assert row["reason"].endswith(
        "its package 1.5.0 has not been fetched; compressor runtimes install toy"
    )
    assert runtimes.install("onnxruntime-web")["reason"].endswith("its package 1.5.0 is there")


def test_the_pinned_package_is_what_the_page_needs(tarball) -> None:
    assert (PACKAGE.name, PACKAGE.version) == ("onnxruntime-web", "1.30.0")
    files = onnxruntime_web.site_files(tarball)

    assert {name: len(content) for name, content in files.items()} == {
        "runtime/ort.js": 73_054,
        "runtime/ort.wasm": 14_239_897,
        "runtime/LICENSE": len(files["runtime/LICENSE"]),
    }
