"""The reader of zip files that nobody vouches for: what it costs, and what it refuses."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Callable

import pytest
from hostile_zips import ENTRIES, endless, peak_of

from deploy.archive import MOST_DIRECTORY, STORED, open_archive
from deploy.arrays import decode_arrays
from deploy.errors import ArtifactError

MIB = 2**20


def opened(content: bytes, **options: int) -> list[str]:
    with open_archive(
        io.BytesIO(content), "zip file", "x.zip", "make it anew", **options
    ) as archive:
        archive.check_names()
        archive.check(archive.members)
        return [archive.read(member).decode() for member in archive.members]


def refusal(call: Callable[..., object], *arguments: object, **options: int) -> str:
    with pytest.raises(ArtifactError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 800
    return message


def zipped(*members: tuple[str | zipfile.ZipInfo, str], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def patched(content: bytes, offset: int, value: int, width: int) -> bytes:
    """Another value in a field of the first entry of the directory."""
    start = content.index(b"PK\1\2") + offset
    return content[:start] + value.to_bytes(width, "little") + content[start + width :]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_and_folders_left_out(method) -> None:
    content = zipped(("a", "one"), ("folder/", ""), ("folder/b", "two" * 1000), method=method)

    assert opened(content) == ["one", "two" * 1000]


@pytest.mark.parametrize("said", [ENTRIES, 1])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("read", [opened, lambda content: decode_arrays(content, "x.npz")])
def test_a_directory_is_bounded_before_it_is_read(read, wide, said) -> None:
    content = endless(said=said, wide=wide)
    message, peak = peak_of(lambda: refusal(read, content))

    assert "too long a directory" in message and f"{47 * ENTRIES:,} bytes" in message
    assert peak < MIB


@pytest.mark.slow
def test_what_a_directory_may_have_costs_little_memory() -> None:
    content = endless(MOST_DIRECTORY // 47)
    message, peak = peak_of(lambda: refusal(opened, content))

    assert f"too many members: x.zip ({MOST_DIRECTORY // 47:,}, at most 16,384)" in message
    assert peak < 48 * MIB


def test_the_number_of_members_has_a_limit_of_the_callers() -> None:
    content = zipped(*((str(number), "") for number in range(4)))

    assert opened(content, most_members=4) == [""] * 4
    assert "too many members: x.zip (4, at most 3)" in refusal(opened, content, most_members=3)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../a",
        "a/../b",
        "..",
        "a\\..\\b",
        "\\a",
        "a\x1bb",
        "a\nb",
        "a\u202eb",
        "n" * 1001,
    ],
)
def test_names_that_lead_elsewhere_or_cannot_be_read(name) -> None:
    assert "leads elsewhere" in refusal(opened, zipped((name, "")))


def test_a_name_that_is_there_twice_or_cut_at_a_nul() -> None:
    assert "twice" in refusal(opened, zipped(("a", "1"), ("a", "2")))
    assert "elsewhere" in refusal(opened, zipped(("abc", "1")).replace(b"abc", b"a\0c"))


def test_a_name_that_is_no_utf8() -> None:
    content = zipped(("é", "1"))

    assert "UnicodeDecodeError" in refusal(opened, content.replace("é".encode(), b"\xff\xfe"))


def test_sizes_and_methods_that_cannot_be() -> None:
    stored, packed = zipped(("a", "1")), zipped(("a", "1"), method=zipfile.ZIP_DEFLATED)

    assert "encrypted: a in x.zip" in refusal(opened, patched(stored, 8, 1, 2))
    assert "(method 12)" in refusal(opened, zipped(("a", "1"), method=zipfile.ZIP_BZIP2))
    assert "(1 bytes cannot hold 2)" in refusal(opened, patched(stored, 24, 2, 4))
    assert "cannot hold 65,536" in refusal(opened, patched(packed, 24, 2**16, 4))
    with open_archive(io.BytesIO(packed), "zip file", "x.zip", "") as archive:
        assert "(method 8)" in refusal(archive.check, archive.members, (STORED,))


def test_no_more_is_unpacked_than_the_directory_says() -> None:
    packed = zipped(("a", "0" * 32 * MIB), method=zipfile.ZIP_DEFLATED)
    lying = patched(packed, 24, 10, 4)
    message, peak = peak_of(lambda: refusal(opened, lying))

    assert "is damaged: a in x.zip" in message
    assert peak < 2 * MIB


def test_a_wrong_checksum() -> None:
    assert "CRC" in refusal(opened, patched(zipped(("a", "1")), 16, 12345, 4))


def test_the_rest_of_a_file_is_not_read_for_its_end() -> None:
    counts: list[int | None] = []

    class Endless(io.BytesIO):
        """A file of /proc: it has no size, and no end."""

        def read(self, count: int | None = -1, /) -> bytes:
            counts.append(count)
            return b"x" * (count or 0)

    def read() -> None:
        with open_archive(Endless(), "zip file", "x.zip", "make it anew"):
            pass

    assert "not a readable zip file: x.zip" in refusal(read)
    assert all(count is not None and 0 <= count < MIB for count in counts)


def test_a_long_name_does_not_fill_the_message() -> None:
    content = zipped(("a" * 60_000, "one"))
    refusal(opened, content)
    with open_archive(io.BytesIO(content), "zip file", "x.zip", "make it anew") as archive:
        packed = archive.members[0]
        packed.compress_type = zipfile.ZIP_BZIP2
        with pytest.raises(ArtifactError) as caught:
            archive.check([packed])
    assert len(str(caught.value.value)) < 200
