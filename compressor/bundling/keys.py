"""The key pair with which a publisher signs bundles: Ed25519 (RFC 8032), by `cryptography`."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from compressor.errors import BundleError, StorageError, UsageError
from compressor.foundation import atomic_paths, deploy_errors
from deploy.bundle import Sign
from deploy.files import read_regular
from deploy.signing import PublicKey

PRIVATE_SUFFIX, PUBLIC_SUFFIX = ".key", ".pub"

_MOST_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def keygen(name: Path | str) -> dict[str, Any]:
    """Make a key pair: the files NAME.key, readable by its owner only, and NAME.pub.

    A .key or .pub at the end of `name` is dropped. Both are PEM, PKCS #8 (RFC 8410) and
    SubjectPublicKeyInfo, as openssl takes them. Returns private, public (the paths) and identifier.
    Raises UsageError where one of the files exists, since keys are never overwritten, and
    StorageError where they cannot be written.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    name = Path(name)
    if name.suffix in (PRIVATE_SUFFIX, PUBLIC_SUFFIX):
        name = name.with_suffix("")
    if not name.name.strip(".") or not name.name.isprintable():
        raise UsageError("no name for a pair of keys", value=repr(str(name)))
    private = name.with_name(name.name + PRIVATE_SUFFIX)
    public = name.with_name(name.name + PUBLIC_SUFFIX)
    for path in (private, public):
        if _is_taken(path):
            raise _taken(path)
    key = Ed25519PrivateKey.generate()
    encoding, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(encoding, pkcs8, serialization.NoEncryption())
    shown = PublicKey(key.public_key().public_bytes_raw())
    try:
        with atomic_paths(private, public, mode=(0o600,), replace=False) as (secret, known):
            secret.write_bytes(pem)
            known.write_text(shown.pem())
    except StorageError as error:
        if isinstance(error.__cause__, FileExistsError):  # made meanwhile
            raise _taken(error.__cause__.filename2 or error.__cause__.filename) from error
        raise
    return {"private": str(private), "public": str(public), "identifier": shown.identifier}


def read_private_key(path: Path | str) -> tuple[PublicKey, Sign]:
    """The key in a file of `keygen`: its public half, and what signs a message with it.

    Raises BundleError for any other file, and where others than its owner may read it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with deploy_errors():
        content = read_regular(path, _MOST_BYTES)
    try:
        key = load_pem_private_key(content, password=None)
    # The library raises errors of several kinds for what it cannot read.
    except Exception:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        hint = "compressor keygen makes a pair; sign with the file that ends in .key"
        raise BundleError("no Ed25519 private key without a password", value=path, hint=hint)
    if os.name == "posix" and Path(path).stat().st_mode & _OTHERS:
        raise BundleError(
            "others than you may read this private key",
            value=path,
            hint=f"chmod 600 {path}, or make another pair with compressor keygen",
        )
    return PublicKey(key.public_key().public_bytes_raw()), key.sign


def _is_taken(path: Path) -> bool:
    return os.path.lexists(path)


def _taken(path: Path | str) -> UsageError:
    hint = "keys are not overwritten; name another"
    return UsageError("there is a key already", value=path, hint=hint)
