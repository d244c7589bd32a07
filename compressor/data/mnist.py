"""The MNIST data set that comes with the package.

60,000 training and 10,000 test images of handwritten digits, 28 x 28, uint8, by Y. LeCun,
C. Cortes and C. Burges (CC BY-SA 3.0): the four official IDX files, gzipped.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from importlib import resources
from typing import IO

from compressor.data.dataset import Dataset
from compressor.data.files import gzip_errors
from compressor.data.idx import decode_idx
from compressor.errors import DataError
from deploy.streams import read_up_to

TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
TEST_IMAGES = "t10k-images-idx3-ubyte"
TEST_LABELS = "t10k-labels-idx1-ubyte"
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)

# The sha256 of the files after gunzip; their md5 are the published ones.
SHA256 = {
    TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
LARGEST_FILE = 47_040_016

_HINT = "install the package again"


def load_mnist() -> Dataset:
    """The embedded MNIST: x (60000, 28, 28) and (10000, 28, 28) uint8, ten classes.

    Raises DataError when a file is missing, or is not byte for byte the official one.
    """
    contents = [io.BytesIO(_read_embedded(name)) for name in FILES]
    arrays = [
        decode_idx(content, content.getbuffer().nbytes, name)
        for name, content in zip(FILES, contents, strict=True)
    ]
    return Dataset.from_arrays("mnist", *arrays, places=FILES)


def _read_embedded(name: str) -> bytearray:
    """The unzipped content of an embedded file, verified."""
    with (
        gzip_errors(f"embedded {name}.gz", _HINT),
        _open_embedded(name) as file,
        gzip.GzipFile(fileobj=file, mode="rb") as stream,
    ):
        content = read_up_to(stream, LARGEST_FILE + 1)
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise DataError(
            "embedded MNIST file is not the official one",
            value=f"{name}.gz (sha256 {digest})",
            hint=_HINT,
        )
    return content


def _open_embedded(name: str) -> IO[bytes]:
    return resources.files("compressor.data").joinpath(f"{name}.gz").open("rb")
