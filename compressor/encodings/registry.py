"""The encodings by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from compressor.encodings._tensors import Float32Array
from compressor.encodings.base import Encoded, Encoding
from compressor.encodings.bitmask import Bitmask
from compressor.encodings.coo import Coo
from compressor.encodings.coo_paper import CooPaper
from compressor.encodings.csr import Csr
from compressor.encodings.dense import Dense
from compressor.encodings.entropy import ENTROPY
from compressor.encodings.gap8 import Gap8
from compressor.errors import CheckpointError, UsageError

_encodings: dict[str, Encoding] = {}

# Name -> encoding, in the order in which tables list them.
ENCODINGS: Mapping[str, Encoding] = MappingProxyType(_encodings)


def register(encoding: Encoding) -> Encoding:
    """Add `encoding` under its name, and return it.

    Raises UsageError when the name is taken, or not of the form `coo-paper`.
    """
    name = encoding.name
    if not re.fullmatch("[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError("the name of an encoding must be of the form 'coo-paper'", value=name)
    if name in _encodings or name == ENTROPY:
        raise UsageError("the name of an encoding is taken", value=name)
    _encodings[name] = encoding
    return encoding


def get_encoding(name: str) -> Encoding:
    """The encoding called `name`; raises UsageError when there is none."""
    if name not in _encodings:
        raise UsageError("no such encoding", value=name, hint=f"use {', '.join(_encodings)}")
    return _encodings[name]


def decode(encoded: Encoded) -> Float32Array:
    """Decode a tensor by the encoding that it names; see Encoding.decode.

    Raises CheckpointError when there is no such encoding, or the streams are damaged.
    """
    encoding = _encodings.get(str(encoded.encoding))
    if encoding is None:
        raise CheckpointError(
            "a tensor in an unknown encoding",
            value=str(encoded.encoding)[:80],
            hint=f"known are {', '.join(_encodings)}",
        )
    return encoding.decode(encoded)


for _encoding in (Dense(), CooPaper(), Coo(), Csr(), Bitmask(), Gap8()):
    register(_encoding)
