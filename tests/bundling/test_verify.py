"""What was altered is refused in one line by command and installed runner; nothing of it runs."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import Signer, relisted, with_manifest, with_members
from command_line import compressor

import compressor as library
from compressor.bundling.keys import read_private_key
from deploy.container import read_container
from deploy.runner.__main__ import main as run_runner
from deploy.runner.packing import pack
from deploy.signing import read_public_key
from deploy.vectors import CheckVectors

STRANGER = Signer(7)


class _Release(Signer):
    """The publisher's own key, as an insider would use it."""

    def __init__(self, folder: Path) -> None:
        object.__setattr__(self, "pair", read_private_key(folder / "release.key"))

    @property
    def public(self) -> Any:
        return self.pair[0]  # type: ignore[attr-defined]

    def sign(self, message: bytes) -> bytes:
        return self.pair[1](message)  # type: ignore[attr-defined]


def _trap(marker: Path) -> bytes:
    """A program that leaves a trace where it is executed."""
    return f"open({str(marker)!r}, 'w').write('executed')\n".encode()


def _altered(bundle: bytes, marker: Path) -> Iterator[tuple[str, bytes]]:
    """Bundles that an enemy could make of a right one without the key; and what each is."""
    trap = _trap(marker)
    yield "nothing", b""
    yield "a text", b"hello\n" * 100
    yield "a byte more", bundle + b"\0"
    yield "a program before it", b"#!/bin/sh\ntouch executed\n" + bundle
    yield "another program", with_members(bundle, {"__main__.py": trap})
    yield "another program, listed", relisted(bundle, {"__main__.py": trap})
    yield "one more program", with_members(bundle, {"deploy/numpy.py": trap})
    yield "another runner", relisted(bundle, {"deploy/runner/__main__.py": trap})
    yield "another model", with_members(bundle, {"model/small.tflite": b"TFL3" * 200})
    yield "no signature", with_members(bundle, {"signature.json": None})
    yield "signed by another", with_manifest(bundle, lambda manifest: None, STRANGER)
    yield (
        "another schema",
        with_manifest(bundle, lambda manifest: manifest["schema"].update(version=2)),
    )
    yield "another device", with_manifest(bundle, lambda manifest: manifest.update(device="x"))
    for bit in range(0, 8 * len(bundle), len(bundle) // 5):
        flipped = bytearray(bundle)
        flipped[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(flipped)
    for name in ("../outside", "/tmp/outside", "model/../../outside"):
        stand_in = "x" * len(name)
        yield (
            f"a member {name}",
            with_members(bundle, {stand_in: trap}).replace(stand_in.encode(), name.encode()),
        )


def _runner(arguments: list[str]) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_runner(arguments)
    return code, out.getvalue(), err.getvalue()


def test_a_right_bundle_is_verified(signed: Path, release: Path) -> None:
    found = compressor("verify", signed, "--key", release / "release.pub", "--json").json()

    assert found["signed_by"] == read_public_key(release / "release.pub").identifier
    assert found["check"]["passed"]
    assert found["check"]["examples"] == 16
    text = compressor("verify", signed).stdout
    assert "signed, but not checked: give --key" in text
    assert "16 check vectors in litert" in text


def test_what_was_altered_is_refused_by_the_command(
    signed: Path, release: Path, tmp_path: Path
) -> None:
    marker, path = tmp_path / "executed", tmp_path / "altered.bundle"
    for what, content in _altered(signed.read_bytes(), marker):
        path.write_bytes(content)
        message = compressor("verify", path, "--key", release / "release.pub").refusal()
        assert "altered.bundle" in message, what
        assert [child.name for child in tmp_path.iterdir()] == ["altered.bundle"], what


def test_what_was_altered_is_refused_by_the_runner(
    signed: Path, release: Path, tmp_path: Path
) -> None:
    marker, path = tmp_path / "executed", tmp_path / "altered.bundle"
    key = ["--key", str(release / "release.pub")]
    assert _runner(["verify", str(signed), *key, "--static"])[0] == 0
    for what, content in _altered(signed.read_bytes(), marker):
        path.write_bytes(content)
        for command in ("verify", "run"):
            rest = [str(release / "release.pub")] if command == "run" else []
            code, out, err = _runner([command, str(path), *rest, *key])
            assert code == 2, what
            assert out == "", what
            assert err.startswith("error: "), what
            assert err.count("\n") == 1, what
        assert [child.name for child in tmp_path.iterdir()] == ["altered.bundle"], what


@pytest.mark.slow
def test_truncation_at_every_1000th_byte_is_refused_by_the_runner(
    signed: Path, release: Path, tmp_path: Path
) -> None:
    content, path = signed.read_bytes(), tmp_path / "cut.bundle"
    for length in range(0, len(content), 1000):
        path.write_bytes(content[:length])
        code, out, err = _runner(["verify", str(path), "--key", str(release / "release.pub")])
        assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("pinned", [True, False], ids=["its key", "another key"])
def test_an_installed_runner_trusts_the_keys_pinned_in_it(
    signed: Path, release: Path, tmp_path: Path, pinned: bool
) -> None:
    key = read_public_key(release / "release.pub") if pinned else STRANGER.public
    runner = tmp_path / "runner.pyz"
    runner.write_bytes(pack([key]))

    done = subprocess.run(
        [sys.executable, "-I", runner, "verify", signed], capture_output=True, text=True
    )

    if pinned:
        assert done.returncode == 0, done.stderr
        assert key.identifier in done.stdout
    else:
        assert done.returncode == 2
        assert done.stderr.startswith("error: the bundle is signed by another key")
        assert done.stderr.count("\n") == 1


def test_a_runner_without_a_key_trusts_nothing(signed: Path, tmp_path: Path) -> None:
    runner = tmp_path / "runner.pyz"
    runner.write_bytes(pack())

    done = subprocess.run(
        [sys.executable, "-I", runner, "verify", signed], capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "trusts no key" in done.stderr


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nothing.zip"
    assert compressor("verify", path).refusal() == f"error: no such file: {path}"


def test_a_bundle_that_computes_something_else_is_a_failed_check(
    signed: Path, release: Path, tmp_path: Path
) -> None:
    owner = _Release(release)
    bundle = signed.read_bytes()
    vectors = CheckVectors.parse(read_container(bundle)["check.npz"], "check.npz")
    other = CheckVectors(vectors.inputs, vectors.outputs[::-1].copy(), vectors.tolerance)
    path = tmp_path / "wrong.bundle"
    path.write_bytes(relisted(bundle, {"check.npz": other.to_bytes()}, owner))
    key = ("--key", release / "release.pub")

    outcome = compressor("verify", path, *key)
    assert outcome.code == 1
    assert "does not compute" in outcome.stderr
    assert compressor("verify", path, *key, "--static").code == 0
    code, out, _ = _runner(["verify", str(path), *map(str, key)])
    assert code == 1
    assert "WRONG" in out


def test_a_runtime_that_is_not_known_is_not_there(
    signed: Path, release: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.bundle"
    change: Callable[[Any], Any] = lambda m: m["runtime"].update(name="abacus")  # noqa: E731
    path.write_bytes(with_manifest(signed.read_bytes(), change, _Release(release)))

    assert compressor("verify", path).code == 3
    code, _, err = _runner(["verify", str(path), "--key", str(release / "release.pub")])
    assert code == 3
    assert "abacus" in err


def test_a_bundle_for_a_gpu_says_what_stood_in(artefacts: Path, tmp_path: Path) -> None:
    if library.runtimes.state("cuda").version is not None:  # type: ignore[attr-defined]
        pytest.skip("there is a GPU here")
    path = tmp_path / "gpu.bundle"
    library.package([artefacts / "small.onnx"], "linux-gpu", path)

    outcome = compressor("verify", path)

    assert outcome.code == 0
    assert "cuda is not available: not verified in it" in outcome.stdout
    # On the device nothing stands in: the provider is proven, or the runner says that it is not.
    done = subprocess.run(
        [sys.executable, "-I", path, "verify"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")


def test_keys_that_are_none_are_refused(signed: Path, release: Path, tmp_path: Path) -> None:
    for key in (tmp_path / "missing.pub", signed, release / "release.key"):
        assert str(key) in compressor("verify", signed, "--key", key).refusal()
