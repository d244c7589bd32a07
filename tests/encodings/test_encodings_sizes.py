"""Bytes of whole models: the paper's sizes, and the check behind model_bytes."""

import math
import subprocess
import sys
import time

import numpy as np
import pytest

from compressor import encodings
from compressor.encodings import ENCODINGS, expected_model_bytes, model_bytes
from compressor.errors import ModelError

FC1, FC2 = (3136, 1024), (1024, 10)
# Of the paper's 3,274,634 parameters, those outside the two pruned kernels.
DENSE = 53_130
MIB = 2**20


def paper_kept(shape, proportion):
    """The count that the paper keeps: what is strictly above the threshold."""
    weights = math.prod(shape)
    return weights - math.floor(weights * proportion) - 1


def random_kernel(shape, nonzeros, rng):
    kernel = np.zeros(math.prod(shape), np.float32)
    kernel[rng.permutation(kernel.size)[:nonzeros]] = rng.normal(size=nonzeros)
    return kernel.reshape(shape)


@pytest.mark.parametrize(
    ("proportion", "mib"),
    [(0.1, 66.5), (0.3, 51.8), (0.5, 37.1), (0.7, 22.3), (0.8, 14.9), (0.9, 7.6)],
)
def test_the_sizes_of_the_paper(proportion, mib):
    kept = [(shape, paper_kept(shape, proportion)) for shape in (FC1, FC2)]
    size = expected_model_bytes("coo-paper", kept, DENSE)
    assert size / MIB == pytest.approx(mib, abs=0.1)


def test_the_paper_at_90_percent_really_encoded():
    rng = np.random.default_rng(0)
    kept = {shape: paper_kept(shape, 0.9) for shape in (FC1, FC2)}
    assert list(kept.values()) == [321_126, 1_023]
    kernels = {str(shape): random_kernel(shape, count, rng) for shape, count in kept.items()}
    started = time.perf_counter()
    sizes = model_bytes(kernels, DENSE)
    # Far above what it takes, for a busy machine.
    assert time.perf_counter() - started < 10
    assert sizes["coo-paper"] / MIB == pytest.approx(7.6, abs=0.1)
    assert list(sizes) == [*ENCODINGS, "entropy"]
    for name, size in sizes.items():
        assert isinstance(size, int)
        expected = expected_model_bytes(name, kept.items(), DENSE)
        assert size == pytest.approx(expected, rel=0.001 if name == "gap8" else 1e-6)
    assert min(sizes, key=sizes.get) == "entropy"


def test_model_bytes_by_hand():
    kernels = {"a": np.eye(4, dtype=np.float32), "b": np.zeros((2, 2, 8), np.float32)}
    kernels["b"][1, 1, 7] = -3
    assert model_bytes(kernels, 10) == {
        "dense": 40 + 4 * 48,
        "coo-paper": 40 + 24 * 5,
        "coo": 40 + 12 * 5,
        "csr": 40 + (4 * 5 + 5 * 4) + (4 * 5 + 5),
        "bitmask": 40 + (2 + 16) + (4 + 4),
        "gap8": 40 + 5 * 5,
        # 16 weights at a quarter, 32 at one in 32: 12.98 and 6.42 bits; five values.
        "entropy": 40 + math.ceil((12.98 + 6.42) / 8 + 20),
    }
    assert set(model_bytes({}, 3).values()) == {12}


def test_bad_input():
    with pytest.raises(ModelError, match="float32 array: float64"):
        model_bytes({"a": np.zeros((2, 2))}, 0)


def test_every_encoding_describes_itself_in_one_line():
    assert list(ENCODINGS) == ["dense", "coo-paper", "coo", "csr", "bitmask", "gap8"]
    for name, encoding in ENCODINGS.items():
        assert encoding.name == name
        assert encoding.description and "\n" not in encoding.description


def test_public_names():
    assert set(encodings.__all__) == {
        "ENCODINGS",
        "ENTROPY",
        "Encoding",
        "SparseKernel",
        "computed_break_even",
        "entropy_bound_bytes",
        "expected_model_bytes",
        "measured_break_even",
        "model_bytes",
        "split_gaps",
    }


def test_importing_takes_no_framework():
    code = "import sys, compressor.encodings; print({'tensorflow', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
