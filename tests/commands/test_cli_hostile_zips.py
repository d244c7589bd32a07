"""Zip files of endless directories: one line, exit code 2, and hardly any memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import compressor
from hostile_zips import ENTRIES, endless, peak_of

from deploy import container

MIB = 2**20


def _bundle() -> bytes:
    """A container as ours are, of more members than one may have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "MOST_MEMBERS", 50_000)
        return container.write_container({f"m{number:05}": b"" for number in range(50_000)})


def _wide() -> bytes:
    return endless(wide=True)


@pytest.mark.parametrize(
    ("words", "name", "make", "says"),
    [
        *(
            (words, name, make, f"too long a directory: {{path}} ({47 * ENTRIES:,} bytes")
            for make in (endless, _wide)
            for words, name in (
                (["train", "-1", "--train_data_dir", "{path}"], "data.npz"),
                (["inspect", "{path}"], "model.keras"),
            )
        ),
        (["verify", "--static", "{path}"], "some.bundle", _bundle, "more than 4,096 members"),
        (["verify", "--static", "{path}"], "some.bundle", endless, "this is no bundle: {path}"),
    ],
)
def test_a_directory_without_end(
    words: list[str], name: str, make: Callable[[], bytes], says: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    words = [word.format(path=path) for word in words]
    path.write_bytes(b"")
    compressor(*words)  # what is imported is no matter of the file
    path.write_bytes(make())
    outcome, peak = peak_of(lambda: compressor(*words))

    assert says.format(path=path) in outcome.refusal()
    # A bundle is read whole, and its members are parts of it.
    assert peak < (2 * MIB if name != "some.bundle" else path.stat().st_size + 4 * MIB)
