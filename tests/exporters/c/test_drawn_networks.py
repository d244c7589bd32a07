"""Networks drawn at random, as C code: compiled, they compute what the reference does."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from drawn_networks import HOLES, drawn_network, holed_network, packable_network, wide_network

from compressor.exporters.c import reference
from compressor.exporters.c.emission import TARGETS, Source, emit
from compressor.exporters.c.layout import lay_out
from compressor.exporters.c.narrowing import narrow
from compressor.exporters.c.network import Convolution, Network, Rescale
from compressor.exporters.c.planes import Grouped, placed
from compressor.exporters.c.ways import planes_of

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def made(seed: int, target: str, optimize: str = "size") -> Source:
    return emitted(drawn_network(seed), seed, target, optimize)


def emitted(network: Network, seed: int, target: str, optimize: str = "size") -> Source:
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(seed).integers(-128, 128, (4, *shape)).astype(np.int8)
    inputs[1, : shape[0] // 2] = -128  # rows of zeros are passed over
    return emit(network, "drawn", target, optimize, (inputs, reference.run(network, inputs)))


def self_tested(source: Source, folder: Path, compiler: str, *flags: str) -> str:
    """What the self-test says, of code that was compiled without a warning."""
    for name, text in source.files.items():
        (folder / name).write_text(text)
    files = [f"{source.name}.c", f"{source.name}_selftest.c"]
    command = [compiler, *WARNINGS, *flags, "-o", "selftest", *files]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    done = subprocess.run(["./selftest"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", range(10))
def test_a_drawn_network_is_bit_exact_and_clean_under_sanitizers(seed: int, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = made(seed, TARGETS[seed % len(TARGETS)], ("size", "latency")[seed % 2])
    assert "0 values wrong" in self_tested(source, tmp_path, compiler, "-O1", *SANITIZERS)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("hole", HOLES)
def test_a_filter_with_a_long_run_of_zeros_is_bit_exact(hole: str, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = emitted(holed_network(hole), 3, "cortex-m4")
    assert source.rows[0].encoding.startswith("Rice")
    assert "0 values wrong" in self_tested(source, tmp_path, compiler, "-O1", *SANITIZERS)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("seed", [5021, 7079])
def test_strided_sums_that_share_a_register_have_both_copies_of_their_rows(
    seed: int, tmp_path: Path
) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = emitted(narrow(packable_network(seed)), seed, "cortex-m0")
    assert "import_row_phases" in source.files["drawn.c"]
    assert "0 values wrong" in self_tested(source, tmp_path, compiler, "-O1", *SANITIZERS)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("seed", range(8))
def test_sums_that_share_a_register_are_bit_exact(seed: int, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    network = narrow(packable_network(seed))
    packed = [layer for layer in network.layers if getattr(layer, "packed", False)]
    assert packed
    for layer in packed:  # the bound that the kernels rely on
        assert (127 * np.abs(layer.kernel.astype(int)).sum(axis=(1, 2, 3)) <= 2**16 - 1).all()
    source = emitted(network, seed, TARGETS[seed % len(TARGETS)])
    assert "convolve_packed" in source.files["drawn.c"]
    assert "0 values wrong" in self_tested(source, tmp_path, compiler, "-O1", *SANITIZERS)


@pytest.mark.parametrize("empty", [1, 20])
def test_rows_of_filters_without_a_weight_are_bit_exact(empty: int, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    network = packable_network(3, most_stride=1)
    kernel = np.random.default_rng(1).integers(1, 9, (8, 5, 5, 1)).astype(np.int8)
    kernel.reshape(40, 5)[:empty] = 0
    (first, *_), tensors = network.layers, list(network.tensors)
    assert isinstance(first, Convolution)
    tensors[:2] = [
        dataclasses.replace(tensors[0], shape=(12, 12, 1)),
        dataclasses.replace(tensors[1], shape=(8, 8, 8)),
    ]
    rescale = Rescale(np.full(8, 1000), np.full(8, 20), -128, -128, 127)
    layer = dataclasses.replace(
        first, kernel=kernel, bias=np.zeros(8, np.int64), rescale=rescale, before=(0, 0), groups=1
    )
    layer = dataclasses.replace(layer, stride=(1, 1), dilation=(1, 1))
    network = narrow(Network(tuple(tensors[:2]), (layer,), 0, 1))
    source = emitted(network, 0, "cortex-m4", "latency")
    # A few get a weight of zero, so that the kernel need not ask for rows without any.
    asked = "next == end" in source.files["drawn.c"]
    assert (asked, source.rows[0].encoding) == (empty > 1, "8-bit offsets")
    assert "0 values wrong" in self_tested(source, tmp_path, compiler, "-O1", *SANITIZERS)


def levels() -> list[str]:
    """What the processor has of the levels for which code is written."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    flags = {"x86-64-v2": "sse4_2", "x86-64-v3": "avx2", "x86-64-v4": "avx512bw"}
    return [march for march, flag in flags.items() if f" {flag} " in told]


def proven(network: Network) -> None:
    """Of each convolution of a whole map: every group of weights has sums that fit 16 bits."""
    laid = lay_out(network)
    for number, planes in planes_of(laid, "latency").items():
        layer = laid.layers[number]
        assert isinstance(layer, Convolution)
        zero = laid.tensors[layer.inputs[0]].zero
        stored = placed(layer, planes, zero)
        assert isinstance(stored, Grouped)
        assert (stored.filters.sum(), stored.groups.sum()) == (stored.weights, stored.start.size)
        assert stored.weights == np.count_nonzero(layer.kernel)
        parts = np.split(stored.values, stored.filters.cumsum())[:-1]
        for values, start in zip(parts, stored.start, strict=True):
            products = np.outer([-128 - zero, 127 - zero], values.astype(int))
            assert start + products.min(axis=0).sum() == 0
            assert start + products.max(axis=0).sum() <= 2**16 - 1


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("seed", "compiler"), [(0, "gcc"), (1, "clang")])
def test_whole_maps_in_sums_of_32_bits_are_bit_exact(
    seed: int, compiler: str, tmp_path: Path
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    network = wide_network(seed)
    proven(network)
    source = emitted(network, seed, "host", "latency")
    assert source.files["drawn.c"].count("    convolve_wide_map(") >= 2
    assert "0 values wrong" in self_tested(source, tmp_path, compiler, "-O2")


def test_flash_is_not_spent_on_offsets_where_size_counts() -> None:
    sizes = [
        sum(row.bytes for row in emitted(wide_network(0), 0, "host", optimize).rows)
        for optimize in ("size", "latency")
    ]
    assert sizes[0] < sizes[1]


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_whole_maps_in_vectors_are_bit_exact_at_each_level(
    seed: int, wide: bool, tmp_path: Path
) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    network = wide_network(seed) if wide else narrow(packable_network(seed, most_stride=1))
    source = emitted(network, seed, "host", ("size", "latency")[wide or seed % 2])
    assert f"convolve{'_wide' * wide}_map" in source.files["drawn.c"]
    tried = [("-O1", *SANITIZERS)]
    tried += [("-O2", "-DONE_LEVEL", f"-march={march}") for march in levels()[seed::3]]
    for flags in tried:
        assert "0 values wrong" in self_tested(source, tmp_path, compiler, *flags)
    included = "#include <string.h>\n"
    text = source.files["drawn.c"].replace(included, f"{included}#undef __GNUC__\n")
    scalar = dataclasses.replace(source, files=source.files | {"drawn.c": text})
    assert "0 values wrong" in self_tested(scalar, tmp_path, compiler, "-O1", *SANITIZERS)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("seed", range(3))
def test_clang_compiles_it_without_a_warning(seed: int, tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    assert "0 values wrong" in self_tested(made(seed, "host"), tmp_path, "clang", "-O2")


def test_the_same_network_gives_the_same_code() -> None:
    assert made(4, "cortex-m4").files == made(4, "cortex-m4").files


def test_names_of_the_model_neither_end_a_comment_nor_leave_the_folder() -> None:
    network = drawn_network(1)
    shape = network.tensors[network.input].shape
    vectors = np.zeros((1, *shape), np.int8), reference.run(network, np.zeros((1, *shape), np.int8))
    source = emit(network, "../../x*/ int main(){}//", "portable", "size", vectors)
    assert source.name == "x_int_main"
    assert all(
        "/" not in name and "main()" not in text.replace("int main(void)", "")
        for name, text in source.files.items()
        if name.endswith((".c", ".h")) or "/" in name
    )
    assert all("a */ name" not in text for text in source.files.values())
