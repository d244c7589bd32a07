"""How a sparse tensor is stored: encodings, their exact bytes, and where they pay.

    encoding = get_encoding("csr")
    encoded = encoding.encode(kernel)
    encoding.nbytes(encoded), encoding.decode(encoded)

A new encoding is a module with one subclass of Encoding, and one line in registry.py.
Needs numpy and nothing else.
"""

from compressor.encodings.base import Encoded, Encoding
from compressor.encodings.bitmask import Bitmask
from compressor.encodings.break_even import computed_break_even, measured_break_even
from compressor.encodings.coo import Coo
from compressor.encodings.coo_paper import CooPaper
from compressor.encodings.csr import Csr
from compressor.encodings.dense import Dense
from compressor.encodings.entropy import ENTROPY, entropy_bound_bytes
from compressor.encodings.gap8 import Gap8
from compressor.encodings.registry import ENCODINGS, decode, get_encoding, register
from compressor.encodings.sizes import expected_model_bytes, model_bytes

__all__ = [
    "ENCODINGS",
    "ENTROPY",
    "Bitmask",
    "Coo",
    "CooPaper",
    "Csr",
    "Dense",
    "Encoded",
    "Encoding",
    "Gap8",
    "computed_break_even",
    "decode",
    "entropy_bound_bytes",
    "expected_model_bytes",
    "get_encoding",
    "measured_break_even",
    "model_bytes",
    "register",
]
