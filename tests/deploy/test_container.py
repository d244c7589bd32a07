"""One form of a container for the same members; every other form is refused."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable

import pytest

from deploy.container import LONGEST_NAME, MOST_MEMBERS, read_container, write_container
from deploy.errors import BundleError

MEMBERS = {"b.txt": b"second", "a/one.bin": bytes(range(256)), "__main__.py": b"", "a/two": b"2"}


def _refused(content: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        read_container(content)
    message = str(caught.value)
    assert message.isprintable()
    return message


def _zip(make: Callable[[zipfile.ZipFile], None], **options: object) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as archive:  # type: ignore[call-overload]
        make(archive)
    return stream.getvalue()


def test_members_come_back_and_their_order_does_not_matter() -> None:
    content = write_container(MEMBERS)

    assert read_container(content) == MEMBERS
    assert list(read_container(content)) == sorted(MEMBERS)
    assert write_container(dict(reversed(MEMBERS.items()))) == content


def test_it_is_a_zip_file_to_others() -> None:
    with zipfile.ZipFile(io.BytesIO(write_container(MEMBERS))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == MEMBERS
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}


def test_random_members_come_back() -> None:
    chance = random.Random(3)
    for _ in range(50):
        names = {f"{chance.choice('abc')}/{chance.randrange(40)}.x" for _ in range(9)}
        members = {name: chance.randbytes(chance.randrange(300)) for name in names}

        assert read_container(write_container(members)) == members


def test_no_members_are_a_container_too() -> None:
    assert read_container(write_container({})) == {}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_refused(bit: int) -> None:
    content = write_container(MEMBERS)
    for place in range(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << (bit + place) % 8
        _refused(bytes(altered))


def test_every_truncation_and_every_byte_more_is_refused() -> None:
    content = write_container(MEMBERS)
    for length in range(len(content)):
        _refused(content[:length])
    _refused(content + b"\0")
    _refused(b"\0" + content)
    _refused(b"#!/usr/bin/env python3\n" + content)


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "a/../x", "/etc/passwd", "a//b", "a/", "./a", ".hidden", "a/.b", "", "a\\b"),
        *(
            "con",
            "model/AUX.tflite",
            "lpt1.x",
            "C:x",
            "a b",
            "a\nb",
            "na\u00efve",
            "con.",
            "-o",
            "a" * (LONGEST_NAME + 1),
        ),
    ],
)
def test_names_that_could_lead_elsewhere_are_neither_written_nor_read(name: str) -> None:
    with pytest.raises(BundleError, match="name"):
        write_container({name: b""})

    # The same file by another hand: a valid container, then the name is exchanged.
    stand_in = b"x" * len(name.encode())
    if 0 < len(stand_in) <= LONGEST_NAME:
        content = write_container({stand_in.decode(): b"1"})
        _refused(content.replace(stand_in, name.encode()))


def test_two_members_may_not_be_one_on_another_file_system() -> None:
    for members in ({"A": b"", "a": b""}, {"a": b"", "a/b/c": b""}, {"A/b": b"", "a": b""}):
        with pytest.raises(BundleError):
            write_container(members)


def test_too_many_members_are_refused() -> None:
    with pytest.raises(BundleError, match="members"):
        write_container({f"m{number}": b"" for number in range(MOST_MEMBERS + 1)})


def test_a_member_that_is_there_twice_is_refused() -> None:
    one = write_container({"a": b"1"})
    local = one[: one.index(b"PK\1\2")]
    central = one[one.index(b"PK\1\2") : one.index(b"PK\5\6")]
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, 2 * len(central), 2 * len(local), 0)

    assert "twice" in _refused(local + local + central + central + end)


def test_zip_files_of_other_programs_are_refused() -> None:
    info = zipfile.ZipInfo("a", (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o100644 << 16
    link = zipfile.ZipInfo("a", (1980, 1, 1, 0, 0, 0))
    link.create_system, link.external_attr = 3, 0o120777 << 16
    commented = zipfile.ZipInfo("a", (1980, 1, 1, 0, 0, 0))
    commented.create_system, commented.external_attr, commented.comment = 3, 0o100644 << 16, b"c"
    assert _zip(lambda archive: archive.writestr(info, b"1")) == write_container({"a": b"1"})

    for content in (
        _zip(lambda archive: archive.writestr(link, b"/etc/passwd")),
        _zip(lambda archive: archive.writestr(commented, b"1")),
        _zip(lambda archive: archive.writestr("a", b"1")),
        _zip(lambda archive: archive.writestr(info, b"0" * 10**6, zipfile.ZIP_DEFLATED)),
        _zip(lambda archive: setattr(archive, "comment", b"hello")),
        b"",
        b"not a zip file",
        bytes(1000),
    ):
        _refused(content)


def test_a_size_that_the_file_does_not_hold_costs_no_memory() -> None:
    content = bytearray(write_container({"a": b"1"}))
    content[18:26] = struct.pack("<II", 2**32 - 1, 2**32 - 1)

    assert "ends before its end" in _refused(bytes(content))
