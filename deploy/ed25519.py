"""Verifying Ed25519 signatures: RFC 8032, section 5.1.

In Python integers, a few milliseconds a signature; there is no secret that timing could reveal.
Signatures are made on the host by the `cryptography` package.
"""

from __future__ import annotations

import hashlib
from typing import Any

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)  # of -1

Point = Any  # a tuple (X, Y, Z, T): x = X / Z, y = Y / Z, x y = T / Z; section 5.1.4


def verify(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature`, 64 bytes, is of `message` by the key `public`, 32 bytes.

    By section 5.1.7, with the equation without cofactor and canonical encodings only: S must be
    below the order of the group, and y of a point below the field's prime. A key of small order,
    for which anybody can sign, is refused, too.
    """
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    key = _decode(public)
    s = int.from_bytes(signature[32:], "little")
    if key is None or s >= _L or _has_small_order(key):
        return False
    digest = hashlib.sha512(signature[:32] + public + message).digest()
    k = int.from_bytes(digest, "little") % _L
    # [S]B = R + [k]A, as [S]B - [k]A = R, so that R need not be decoded.
    return _encode(_sum_of_products(s, _BASE, k, _negative(key))) == signature[:32]


def _decode(encoded: bytes) -> Point | None:
    """The point of 32 bytes (section 5.1.3); None if they are not a point."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * pow(v, 3, _P) * pow(u * pow(v, 7, _P), (_P - 5) // 8, _P) % _P
    square = v * x * x % _P
    if square == -u % _P:
        x = x * _ROOT % _P
    elif square != u:
        return None
    if x == 0 and sign:
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _encode(point: Point) -> bytes:
    """The 32 bytes of a point (section 5.1.2)."""
    x, y, z, _ = point
    inverse = pow(z, _P - 2, _P)
    x, y = x * inverse % _P, y * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _add(p: Point, q: Point) -> Point:
    """The sum of two points (section 5.1.4)."""
    a = (p[1] - p[0]) * (q[1] - q[0]) % _P
    b = (p[1] + p[0]) * (q[1] + q[0]) % _P
    c = 2 * p[3] * q[3] * _D % _P
    d = 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(p: Point) -> Point:
    """Twice a point (section 5.1.4)."""
    a = p[0] * p[0] % _P
    b = p[1] * p[1] % _P
    c = 2 * p[2] * p[2] % _P
    h = a + b
    e = h - (p[0] + p[1]) ** 2
    g = a - b
    f = c + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _has_small_order(p: Point) -> bool:
    """Whether eight times the point is the neutral element."""
    x, y, z, _ = _double(_double(_double(p)))
    return x == 0 and y == z


def _negative(p: Point) -> Point:
    return -p[0] % _P, p[1], p[2], -p[3] % _P


def _sum_of_products(m: int, p: Point, n: int, q: Point) -> Point:
    """[m]P + [n]Q, from the highest bit down."""
    both = _add(p, q)
    total: Point = (0, 1, 1, 0)
    for bit in range(max(m.bit_length(), n.bit_length()) - 1, -1, -1):
        total = _double(total)
        in_m, in_n = m >> bit & 1, n >> bit & 1
        if in_m or in_n:
            total = _add(total, both if in_m and in_n else p if in_m else q)
    return total


_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE = _decode(_BASE_Y.to_bytes(32, "little"))
