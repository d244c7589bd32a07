"""Public keys, and the signature of a bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import deploy
from deploy import ed25519
from deploy.container import MOST_BYTES, read_container
from deploy.errors import BundleError
from deploy.fields import Fields, parse_json
from deploy.files import read_regular

SCHEMA = {"name": "compressor-signature", "version": 1}
ALGORITHM = "ed25519"
PINNED_KEYS = "pinned_keys.json"
"""The file of this package that lists the keys that an installed runner trusts."""

_CONTEXT = b"compressor-bundle-v1\0"
_MOST_TEXT = 4096
# What comes before the 32 bytes of a key in a SubjectPublicKeyInfo (RFC 8410, section 4).
_DER_PREFIX = bytes.fromhex("302a300506032b6570032100")
_KEY = re.compile(f"[0-9a-f]{{{2 * ed25519.KEY_BYTES}}}")
_PEM_BEGIN, _PEM_END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"


@dataclasses.dataclass(frozen=True)
class PublicKey:
    """An Ed25519 public key, `raw` of 32 bytes."""

    raw: bytes

    @property
    def identifier(self) -> str:
        """The first 16 hex digits of the sha256 of the key, to name it to people."""
        return hashlib.sha256(self.raw).hexdigest()[:16]

    def pem(self) -> str:
        """The key as a SubjectPublicKeyInfo (RFC 8410) in PEM (RFC 7468)."""
        import base64

        encoded = base64.b64encode(_DER_PREFIX + self.raw).decode()
        return f"{_PEM_BEGIN}\n{encoded}\n{_PEM_END}\n"


def read_public_key(path: Path | str) -> PublicKey:
    """The key in a file that `compressor keygen` or `openssl pkey -pubout` wrote.

    Raises BundleError for any other file; a private key is named as such.
    """
    import base64

    content = read_regular(path, _MOST_TEXT)
    if b"PRIVATE KEY" in content:
        raise BundleError(
            "this is a private key", value=path, hint="keep it secret; give the public one, .pub"
        )
    try:
        text = " ".join(content.decode("ascii").split())
        begin, end = text.index(_PEM_BEGIN), text.index(_PEM_END)
        body = text[begin + len(_PEM_BEGIN) : end].replace(" ", "")
        der = base64.b64decode(body, validate=True)
    except ValueError:
        der = b""
    if len(der) != len(_DER_PREFIX) + ed25519.KEY_BYTES or not der.startswith(_DER_PREFIX):
        raise BundleError(
            "not an Ed25519 public key in PEM", value=path, hint="compressor keygen makes a pair"
        )
    return PublicKey(der[len(_DER_PREFIX) :])


def signed_message(manifest: bytes) -> bytes:
    """The signed bytes: the manifest after a prefix that no other use of the key has."""
    return _CONTEXT + manifest


def describe_signature(identifier: str, signature: bytes) -> bytes:
    """The member signature.json, of a signature by the key with this identifier."""
    content = {
        "schema": SCHEMA,
        "algorithm": ALGORITHM,
        "key": identifier,
        "signature": signature.hex(),
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def check_signature(
    described: bytes | None, manifest: bytes, keys: Sequence[PublicKey]
) -> PublicKey:
    """The key of `keys` that made the signature in `described`, the member signature.json.

    Raises BundleError if there is no signature, if it is by another key, and if it is not of
    `manifest`.
    """
    if not keys:
        raise BundleError(
            "no key is trusted", value="none is pinned", hint="give one with --key PUB"
        )
    if described is None:
        raise BundleError(
            "the bundle is not signed",
            value="it has no signature.json",
            hint="compressor package --sign KEY signs one",
        )
    identifier, signature = parse_signature(described)
    trusted = ", ".join(key.identifier for key in keys)
    key = next((key for key in keys if key.identifier == identifier), None)
    if key is None:
        raise BundleError(
            "the bundle is signed by another key", value=f"by {identifier}, trusted: {trusted}"
        )
    if not ed25519.verify(key.raw, signature, signed_message(manifest)):
        raise BundleError("the signature is not of this bundle", value=f"by key {identifier}")
    return key


def pinned_keys() -> tuple[PublicKey, ...]:
    """The keys that this runner trusts; none in a self-running bundle."""
    loader: Any = deploy.__spec__.loader  # of a zipapp, or of a folder
    try:
        content = loader.get_data(str(Path(next(iter(deploy.__path__))) / PINNED_KEYS))
    except OSError:
        return ()
    return _parse_keys(content)


def runner_file() -> Path:
    """The file with the `pinned_keys`: the running zipapp, or from a folder their own file."""
    archive = getattr(deploy.__spec__.loader, "archive", None)
    return Path(archive or Path(next(iter(deploy.__path__))) / PINNED_KEYS)


def keys_pinned_in(path: Path) -> tuple[PublicKey, ...]:
    """The keys in `runner_file` as it is now, without executing it.

    Raises BundleError for a file that is neither a runner nor a list of keys.
    """
    if path.name == PINNED_KEYS and not path.exists():
        return ()
    content = read_regular(path, MOST_BYTES)
    if path.name == PINNED_KEYS:
        return _parse_keys(content)
    member = read_container(content).get(f"{deploy.__name__}/{PINNED_KEYS}")
    return () if member is None else _parse_keys(member)


def describe_keys(keys: Sequence[PublicKey]) -> bytes:
    return (json.dumps({"keys": [key.raw.hex() for key in keys]}) + "\n").encode()


def _parse_keys(content: bytes) -> tuple[PublicKey, ...]:
    fields = Fields(parse_json(content, PINNED_KEYS), PINNED_KEYS)
    texts = fields.texts("keys")
    fields.done()
    for text in texts:
        if _KEY.fullmatch(text) is None:
            raise BundleError("not an Ed25519 public key of 64 hex digits", value=text)
    return tuple(PublicKey(bytes.fromhex(text)) for text in texts)


def parse_signature(described: bytes) -> tuple[str, bytes]:
    """The identifier of the key and the signature; raises BundleError for any other form."""
    if len(described) > _MOST_TEXT:
        raise BundleError("signature.json is too large", value=f"{len(described):,} bytes")
    fields = Fields(parse_json(described, "signature.json"), "signature")
    fields.schema("schema", SCHEMA, "signature")
    fields.choice("algorithm", (ALGORITHM,))
    identifier, text = fields.text("key"), fields.text("signature")
    fields.done()
    try:
        signature = bytes.fromhex(text)
    except ValueError:
        signature = b""
    if len(signature) != ed25519.SIGNATURE_BYTES:
        raise BundleError("not an Ed25519 signature", value=text[:32])
    if describe_signature(identifier, signature) != described:
        raise BundleError("signature.json is not in canonical form")
    return identifier, signature
