"""The names by which a server may be asked (Host, RFC 9110, 7.2).

A page from anywhere may have a browser send requests here under a name of its own that resolves to
this machine (DNS rebinding), and read the answers as those of its own site. It cannot choose the
name in the Host header, which is that of its site.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from deploy.errors import RequestError

_LOCAL = "localhost"
# RFC 3986, 3.2.2, without percent-encoding: [IPv6] or a name or an IPv4 address, and a port.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._-]+))(?::[0-9]{0,5})?")


class Hosts:
    """The hosts that are answered by a server that listens on `bound`: a name or an address.

    They are `bound` itself, localhost and the loopback addresses, the names in `more`, and, if it
    listens beyond this machine, any address: only a name can be rebound. Ports do not matter.
    Raises RequestError for what is no name.
    """

    def __init__(self, bound: str = _LOCAL, more: Sequence[str] = ()) -> None:
        for name in more:
            if not _HOST.fullmatch(name):
                raise RequestError("no name of a host", value=name, hint="--allow-host NAME")
        self._names = {_plain(name) for name in (_LOCAL, bound, *more)}
        address = _address(_plain(bound))
        self._addresses = not (address.is_loopback if address else _plain(bound) == _LOCAL)

    def __contains__(self, host: str) -> bool:
        if not _HOST.fullmatch(host):
            return False
        name = _plain(host)
        address = _address(name)
        if address is None:
            return name in self._names or name.endswith(f".{_LOCAL}")
        return self._addresses or address.is_loopback or name in self._names


def _plain(name: str) -> str:
    """The name without port, brackets and the dot of the root."""
    found = _HOST.fullmatch(name)
    return ((found[1] or found[2]) if found else name).lower().rstrip(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
