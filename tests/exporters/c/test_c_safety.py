"""Generated C code takes any bytes: bounded stack, and nothing outside of its buffers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from drawn_networks import HOLES, drawn_network, holed_network, packable_network

from compressor.exporters.c import reference
from compressor.exporters.c.emission import TARGETS, Source, emit
from compressor.exporters.c.narrowing import fewer_bits, narrow
from compressor.exporters.c.network import Network

FUZZ = """
#include "net.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    /* On the heap, each of its exact size: a byte beside it is an error of the sanitizer. */
    int8_t *input = malloc(NET_INPUT_SIZE), *output = malloc(NET_OUTPUT_SIZE);
    float *real = malloc(4 * NET_INPUT_SIZE), *found = malloc(4 * NET_OUTPUT_SIZE);
    void *workspace = malloc(NET_WORKSPACE_SIZE), *larger = malloc(NET_FLOAT_WORKSPACE_SIZE);
    uint32_t state = 1, round, k;
    for (round = 0; round < ROUNDS; round++) {
        for (k = 0; k < NET_INPUT_SIZE; k++) {
            state = state * 1664525 + 1013904223;
            input[k] = (int8_t)(round == 0 ? -128 : round == 1 ? 127 : (int)(state >> 24) - 128);
            memcpy(real + k, &state, 4); /* any bits: infinite, and no numbers */
        }
        memset(workspace, (int)round, NET_WORKSPACE_SIZE);
        if (net_run(input, output, workspace) != 0 || net_run_float(real, found, larger) != 0)
            return 1;
    }
    free(input), free(output), free(real), free(found), free(workspace), free(larger);
    puts("done");
    return 0;
}
"""


def emitted(network: Network, target: str, optimize: str, folder: Path) -> Source:
    shape = network.tensors[network.input].shape
    inputs = np.zeros((1, *shape), np.int8)
    source = emit(network, "net", target, optimize, (inputs, reference.run(network, inputs)))
    for name, text in source.files.items():
        (folder / name).write_text(text)
    return source


def narrowed(seed: int) -> Network:
    network = narrow(packable_network(seed))
    for layer in network.layers:
        network = fewer_bits(network, layer.output, 3)
    return network


SLOW = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10)]


@pytest.mark.parametrize("seed", [0, 1, *SLOW])
def test_random_bytes_stay_within_the_buffers(seed: int, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    network = narrowed(seed) if seed % 2 else drawn_network(seed + 20)
    emitted(network, TARGETS[seed % 4], ("size", "latency")[seed % 3 // 2], tmp_path)
    assert fuzzed(compiler, tmp_path) == (0, "done\n")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("hole", HOLES)
def test_a_filter_with_a_long_run_of_zeros_is_decoded_within_the_workspace(
    hole: str, tmp_path: Path
) -> None:
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = emitted(holed_network(hole), "portable", "size", tmp_path)
    assert source.rows[0].encoding.startswith("Rice")
    assert fuzzed(compiler, tmp_path) == (0, "done\n")


def fuzzed(compiler: str, folder: Path) -> tuple[int, str]:
    """How the code ends on any bytes, and what it says."""
    (folder / "fuzz.c").write_text(FUZZ)
    flags = ("-std=c99", "-O1", "-DROUNDS=20", "-fsanitize=address,undefined")
    built = [compiler, *flags, "-fno-sanitize-recover=all", "-o", "fuzz", "fuzz.c", "net.c"]
    subprocess.run(built, cwd=folder, check=True, capture_output=True)
    done = subprocess.run(["./fuzz"], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.sampled(2)
@pytest.mark.parametrize("target", TARGETS)
def test_no_frame_is_larger_than_the_header_counts_with(target: str, tmp_path: Path) -> None:
    small = target.startswith("cortex")
    compiler = shutil.which("arm-none-eabi-gcc" if small else "gcc")
    if compiler is None:
        pytest.skip("the compiler is not installed")
    options = ("-mthumb", f"-mcpu={target}") if small else ()
    for network in (drawn_network(7), narrowed(3)):
        source = emitted(network, target, "size", tmp_path)
        frame = re.search(r"-Wstack-usage=(\d+)", source.files["Makefile"])
        assert frame is not None and int(frame[1]) < source.stack
        command = [compiler, *options, "-std=c99", "-O2", frame[0], "-Werror", "-c", "net.c"]
        built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
