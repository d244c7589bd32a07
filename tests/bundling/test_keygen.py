"""Keys: a pair that others cannot read, is never overwritten, and is what openssl takes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from command_line import compressor
from small_disks import small_disk

import compressor as library
from compressor.bundling.keys import read_private_key
from compressor.errors import BundleError, UsageError
from deploy import ed25519
from deploy.signing import read_public_key


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_reads_the_private_key(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        made = library.keygen(tmp_path / "keys" / "release")
    finally:
        os.umask(before)

    private, public = Path(made["private"]), Path(made["public"])
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert private.name == "release.key"
    assert public.name == "release.pub"
    assert read_public_key(public).identifier == made["identifier"]
    assert sorted(path.name for path in private.parent.iterdir()) == ["release.key", "release.pub"]


def test_what_one_key_signs_the_other_verifies(tmp_path: Path) -> None:
    made = library.keygen(tmp_path / "release")
    public, sign = read_private_key(made["private"])

    assert public == read_public_key(made["public"])
    assert ed25519.verify(public.raw, sign(b"message"), b"message")
    assert library.keygen(tmp_path / "other")["identifier"] != made["identifier"]


@pytest.mark.parametrize("suffix", [".key", ".pub"])
def test_a_name_may_be_that_of_a_key(tmp_path: Path, suffix: str) -> None:
    made = library.keygen(tmp_path / f"release.v1{suffix}")

    assert Path(made["private"]).name == "release.v1.key"
    assert Path(made["public"]).name == "release.v1.pub"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    made = library.keygen(tmp_path / "release")
    before = Path(made["private"]).read_bytes()

    assert "release.key" in compressor("keygen", tmp_path / "release").refusal()
    Path(made["public"]).rename(tmp_path / "lone.pub")
    assert "lone.pub" in compressor("keygen", tmp_path / "lone").refusal()
    (tmp_path / "dangling.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="already"):
        library.keygen(tmp_path / "dangling")

    assert Path(made["private"]).read_bytes() == before
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_leaves_no_half_of_a_pair(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4k") as disk:  # room for one file
        assert "No space left on device" in compressor("keygen", disk / "release").refusal()
        assert list(disk.iterdir()) == []


def test_a_pair_that_is_made_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = tmp_path / "release.key", tmp_path / "release.pub"
    private.write_text("of somebody else")
    # As if neither had been there a moment ago.
    monkeypatch.setattr("compressor.bundling.keys._is_taken", lambda path: False)

    refused = compressor("keygen", tmp_path / "release").refusal()

    assert f"there is a key already: {private}" in refused
    assert private.read_text() == "of somebody else"
    assert not public.exists()


@pytest.mark.parametrize("name", ["", ".", "/", "..", "a\nb"])
def test_a_pair_needs_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert "no name" in compressor("keygen", name).refusal()
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    made = compressor("keygen", tmp_path / "release", "--json").json()

    assert Path(made["private"]).is_file()
    text = compressor("keygen", tmp_path / "second").stdout
    assert "second.key" in text
    assert "keep it secret" in text


def test_a_private_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    private = Path(library.keygen(tmp_path / "release")["private"])
    private.chmod(0o644)

    with pytest.raises(BundleError, match="chmod 600"):
        read_private_key(private)


@pytest.mark.parametrize("content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_what_is_no_private_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(BundleError, match="no Ed25519 private key"):
        read_private_key(path)
    with pytest.raises(BundleError, match="no such file"):
        read_private_key(tmp_path / "missing.key")


def test_openssl_takes_the_keys(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    made = library.keygen(tmp_path / "release")
    _, sign = read_private_key(made["private"])
    (tmp_path / "message").write_bytes(b"message")
    (tmp_path / "signature").write_bytes(sign(b"message"))

    done = subprocess.run(
        [
            *(openssl, "pkeyutl", "-verify", "-pubin", "-inkey", made["public"], "-rawin"),
            *("-in", tmp_path / "message", "-sigfile", tmp_path / "signature"),
        ],
        capture_output=True,
        text=True,
    )

    assert "Signature Verified Successfully" in done.stdout, done.stderr
