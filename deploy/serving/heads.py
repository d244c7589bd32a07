"""Reading the heads of HTTP requests that nobody vouches for."""

from __future__ import annotations

import io
import re

_LONGEST_HEAD = 2**16
# RFC 9112, 5.1, without line folding (5.2): a name, its colon at once, and no control characters.
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")


class HeadReader(io.BufferedReader):
    """A connection whose head of a request is read line by line, and held against the standard.

    What the library cannot parse it drops without a word, and with it where a body ends: the body
    would be the next request. `fault` says what is wrong.
    """

    fault = ""
    _lines = _bytes = 0

    def begin(self) -> None:
        """A request begins."""
        self.fault, self._lines, self._bytes = "", 0, 0

    def readline(self, size: int | None = -1, /) -> bytes:
        """The next line of the head."""
        line = super().readline(size)
        self._lines += 1
        self._bytes += len(line)
        if self._lines == 1:
            return line
        if self._bytes > _LONGEST_HEAD:
            self.fault = "the headers are too long"
            return b""
        if line != b"\r\n" and not _HEADER.fullmatch(line):
            self.fault = "a header line is malformed"
        return line
