"""A bundle that was altered in any way is refused in one line; and nothing of it is run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from bundles import Signer, bundle_of, relisted, with_manifest, with_members

from deploy.bundle import open_bundle
from deploy.container import read_container
from deploy.errors import BundleError, DeployError
from deploy.signing import (
    describe_keys,
    describe_signature,
    keys_pinned_in,
    read_public_key,
    signed_message,
)

OWNER, STRANGER = Signer(1), Signer(2)


@pytest.fixture(scope="module")
def right(artefacts: Path) -> bytes:
    return bundle_of(artefacts / "small.tflite", OWNER)


@pytest.fixture
def refused(tmp_path: Path) -> Any:
    """Open a bundle of these bytes; give the one line of its refusal."""

    def call(content: bytes, keys: Any = None) -> str:
        path = tmp_path / "some.bundle"
        path.write_bytes(content)
        with pytest.raises(DeployError) as caught:
            open_bundle(path, keys)
        message = str(caught.value)
        assert isinstance(caught.value, BundleError), message
        assert message.isprintable()
        assert "some.bundle" in message
        assert [found.name for found in tmp_path.iterdir()] == ["some.bundle"]
        return message

    return call


def test_a_right_bundle_gives_what_was_packed(
    right: bytes, artefacts: Path, tmp_path: Path
) -> None:
    path = tmp_path / "right.bundle"
    path.write_bytes(right)

    bundle = open_bundle(path, [STRANGER.public, OWNER.public])

    assert bundle.signed_by == OWNER.public
    assert bundle.model == (artefacts / "small.tflite").read_bytes()
    assert bundle.artifact.describe() == json.loads((artefacts / "small.tflite.json").read_text())
    assert len(bundle.vectors().outputs) == len(bundle.vectors().inputs["quarters"])
    assert bundle.size == len(right)


def test_the_same_artefact_gives_the_same_bytes(right: bytes, artefacts: Path) -> None:
    assert bundle_of(artefacts / "small.tflite", OWNER) == right


def test_without_keys_only_its_integrity_is_asked_for(right: bytes, tmp_path: Path) -> None:
    path = tmp_path / "unsigned.bundle"
    path.write_bytes(with_members(right, {"signature.json": None}))

    bundle = open_bundle(path, None)

    assert bundle.signed_by is None
    assert not bundle.signed


def test_any_flipped_bit_is_refused(right: bytes, refused: Any) -> None:
    chance = random.Random(4)
    places = {chance.randrange(8 * len(right)) for _ in range(300)}
    # And some in every member, however short.
    for content in read_container(right).values():
        if content:
            start = 8 * right.index(content)
            places |= {start + chance.randrange(8 * len(content)) for _ in range(3)}
    for place in places:
        altered = bytearray(right)
        altered[place // 8] ^= 1 << place % 8
        refused(bytes(altered))


def test_truncation_at_every_1000th_byte_is_refused(right: bytes, refused: Any) -> None:
    for length in range(0, len(right), 1000):
        refused(right[:length])
    refused(right[:-1])


def test_a_member_that_was_exchanged_is_refused(right: bytes, refused: Any) -> None:
    for name, content in read_container(right).items():
        if name not in ("manifest.json", "signature.json"):
            assert "differs from the manifest" in refused(
                with_members(right, {name: content + b"\0"})
            )


def test_members_more_or_less_are_refused(right: bytes, refused: Any) -> None:
    assert "does not list" in refused(with_members(right, {"deploy/more.py": b"print(1)"}))
    for name in read_container(right):
        if name != "signature.json":
            refused(with_members(right, {name: None}))
    for name in ("check.npz", "model/small.tflite"):
        assert "lacks a member" in refused(relisted(right, {name: None}))


def test_a_model_of_another_description_is_refused(right: bytes, refused: Any) -> None:
    other = relisted(right, {"model/small.tflite": b"TFL3" * 100})

    assert "the artefact is not the described one" in refused(other)


def test_check_vectors_of_another_artefact_are_refused(right: bytes, refused: Any) -> None:
    wrong = with_manifest(right, lambda m: m["artifact"].update(vectors_sha256="0" * 64))

    assert "check vectors are of another artefact" in refused(wrong)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m["schema"].update(version=2), "schema version"),
        (lambda m: m["schema"].update(name="other"), "compressor-bundle"),
        (lambda m: m.update(more=1), "unknown field"),
        (lambda m: m.update(counter=0), "counter is not from 1 to"),
        (lambda m: m.update(counter="7"), "counter is not an integer"),
        (lambda m: m.update(counter=None), "form"),
        (lambda m: m.pop("device"), "missing"),
        (lambda m: m.update(name="../x"), "name is not a file name"),
        (lambda m: m.update(members=m["members"][::-1]), "not sorted"),
        (lambda m: m.update(members=m["members"] + m["members"][-1:]), "twice"),
        (lambda m: m["artifact"].update(file="../../x"), "file is not a file name"),
        (lambda m: m["artifact"].update(classes=-1), "classes"),
        (lambda m: m["members"][0].update(sha256="0" * 64), "differs from the manifest"),
        (lambda m: m["members"][0].update(name="/etc/passwd"), "a member that the bundle lacks"),
        (lambda m: m["runtime"].update(name=["litert"]), "runtime.name"),
        (lambda m: m.update(latency=[{}]), "missing"),
    ],
)
def test_a_manifest_of_another_form_is_refused(
    right: bytes, refused: Any, change: Any, said: str
) -> None:
    assert said in refused(with_manifest(right, change, OWNER), [OWNER.public])


def test_a_manifest_in_another_spelling_is_refused(right: bytes, refused: Any) -> None:
    manifest = json.loads(read_container(right)["manifest.json"])
    for spelling in (
        json.dumps(manifest).encode(),
        json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n",
    ):
        assert "form" in refused(with_members(right, {"manifest.json": spelling}))
    for noise in (b"", b"{", b"[" * 10**5, b"\xff", b'{"a":1,"a":2}', b"null", b"1e999"):
        refused(with_members(right, {"manifest.json": noise}))


def test_a_signature_that_was_stripped_is_refused(right: bytes, refused: Any) -> None:
    assert "not signed" in refused(with_members(right, {"signature.json": None}), [OWNER.public])


def test_a_signature_by_another_key_is_refused(right: bytes, refused: Any) -> None:
    assert "another key" in refused(right, [STRANGER.public])
    assert "no key is trusted" in refused(right, [])


def test_a_signature_that_only_claims_the_key_is_refused(right: bytes, refused: Any) -> None:
    manifest = read_container(right)["manifest.json"]
    for signature in (
        STRANGER.sign(signed_message(manifest)),
        OWNER.sign(manifest),  # of the manifest alone, as for another use of the key
        bytes(64),
    ):
        claimed = describe_signature(OWNER.public.identifier, signature)
        altered = with_members(right, {"signature.json": claimed})
        assert "the signature is not of this bundle" in refused(altered, [OWNER.public])


def test_a_signature_of_another_bundle_is_refused(
    right: bytes, artefacts: Path, refused: Any
) -> None:
    other = read_container(bundle_of(artefacts / "float.tflite", OWNER))["signature.json"]

    altered = with_members(right, {"signature.json": other})

    assert "the signature is not of this bundle" in refused(altered, [OWNER.public])


def test_a_signature_has_one_spelling(right: bytes, refused: Any) -> None:
    signature = read_container(right)["signature.json"]
    for spelling in (signature + b" ", signature.replace(b'"ed25519"', b'"none"'), b"{}", b""):
        refused(with_members(right, {"signature.json": spelling}), [OWNER.public])
        refused(with_members(right, {"signature.json": spelling}))


def test_what_is_too_large_is_refused_before_it_is_parsed(right: bytes, refused: Any) -> None:
    large = b"[" + b"[]," * 3_000_000 + b"[]]"

    assert "signature.json is too large" in refused(
        with_members(right, {"signature.json": large}), [OWNER.public]
    )
    assert "manifest is too large" in refused(with_members(right, {"manifest.json": large}))


def test_check_vectors_that_are_none_are_refused(right: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vectors.bundle"
    for noise in (b"", b"PK", bytes(100)):
        path.write_bytes(relisted(right, {"check.npz": noise}, OWNER))
        bundle = open_bundle(path, [OWNER.public])
        with pytest.raises(BundleError, match=r"check\.npz"):
            bundle.vectors()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo")
    for name in ("missing", "fifo"):
        with pytest.raises(BundleError, match=name):
            open_bundle(tmp_path / name, None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(BundleError, match="no bundle"):
        open_bundle(tmp_path / "folder", None)


def test_a_folder_is_a_bundle_of_its_files(right: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    for name, content in read_container(right).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    assert open_bundle(folder, [OWNER.public]).signed_by == OWNER.public
    (folder / "model" / "link").symlink_to("/etc/passwd")
    with pytest.raises(BundleError, match="regular files"):
        open_bundle(folder, None)
    (folder / "model" / "link").unlink()
    (folder / "more.txt").write_text("more")
    with pytest.raises(BundleError, match="does not list"):
        open_bundle(folder, None)


def test_public_keys_are_read_strictly(tmp_path: Path) -> None:
    path = OWNER.write_public(tmp_path / "owner.pub")
    assert read_public_key(path) == OWNER.public
    assert len(OWNER.public.identifier) == 16

    pem = path.read_text()
    for noise in ("", "hello", pem.replace("MCow", "MCox"), pem[: len(pem) // 2], "\0" * 100):
        path.write_text(noise)
        with pytest.raises(BundleError, match=r"owner\.pub"):
            read_public_key(path)
    path.write_text(pem.replace("PUBLIC", "PRIVATE"))
    with pytest.raises(BundleError, match="private key"):
        read_public_key(path)


@pytest.mark.parametrize("key", ["x" * 64, "ab" * 31, "ab" * 33, "AB" * 32, "ab " * 32, ""])
def test_a_pinned_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    path = tmp_path / "pinned_keys.json"
    path.write_bytes(describe_keys([OWNER.public]))
    assert keys_pinned_in(path) == (OWNER.public,)
    path.write_text(json.dumps({"keys": [OWNER.public.raw.hex(), key]}))

    with pytest.raises(DeployError) as caught:
        keys_pinned_in(path)
    assert str(caught.value).isprintable()
