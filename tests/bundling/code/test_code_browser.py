"""C code in a browser: the folder, its modules, the page, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command_line
import numpy as np
import pytest
from browser import chromium
from code_folders import digits_inputs, digits_network, tie, write_code
from drawing_page import DrawingPage, serving
from drawn_networks import drawn_network, packable_network

import compressor
from compressor.bundling.code import browser_code, read_code
from compressor.bundling.code.checking import run_module
from compressor.errors import CheckFailedError, MissingRuntimeError, UsageError
from compressor.exporters.c.narrowing import narrow
from compressor.exporters.c.network import Network
from compressor.runtimes import ZIGLANG

NODE = shutil.which("node")
needs_zig = pytest.mark.skipif(
    bool(ZIGLANG.missing()), reason="ziglang is not installed: compressor runtimes install ziglang"
)
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
SEVEN = [
    [(0.28, 0.25), (0.45, 0.24), (0.6, 0.25), (0.74, 0.25), (0.66, 0.42), (0.55, 0.6), (0.47, 0.82)]
]


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_code(
        tmp_path_factory.mktemp("code") / "net-c", digits_network(), digits_inputs(16)
    )


@pytest.fixture(scope="module")
def site(code: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `compressor package` makes; not to be written to."""
    folder = tmp_path_factory.mktemp("site") / "digits"
    compressor.package([code], "browser", folder)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@needs_zig
def test_the_page_is_small_and_needs_no_runtime(site: Path, code: Path, tmp_path: Path) -> None:
    sizes = {
        path.relative_to(site).as_posix(): path.stat().st_size
        for path in site.rglob("*")
        if path.is_file()
    }
    assert sum(sizes.values()) < 120_000
    assert {"index.html", "engine.js", "model/net.wasm", "scalar.wasm"} < set(sizes)
    assert not any(name.startswith(("runtime/", "engine-")) for name in sizes)
    again = compressor.package([code / "net.so"], "browser", tmp_path / "again")
    assert (tmp_path / "again" / "manifest.json").read_bytes() == (
        site / "manifest.json"
    ).read_bytes()
    assert again["runtime"] == {"name": "c", "version": "1"}
    assert again["artefact"] == "net.wasm"


@needs_zig
@needs_node
def test_verify_runs_its_check_vectors_and_finds_a_wrong_integer(
    site: Path, tmp_path: Path
) -> None:
    told = command_line.compressor("verify", site)
    assert told.code == 0 and "6 check vectors in c 1 (largest difference" in told.stdout
    other = write_code(tmp_path / "code", digits_network(), digits_inputs(16))
    spoilt(other, "NET_OUTPUT_ZERO (0)", "NET_OUTPUT_ZERO (1)")
    compressor.package([other], "browser", tmp_path / "site")
    with pytest.raises(CheckFailedError, match="does not compute what it should"):
        compressor.verify(tmp_path / "site")


@pytest.mark.slow
@needs_zig
@needs_node
@pytest.mark.parametrize(
    "network",
    [
        narrow(packable_network(4)),
        drawn_network(2),
        *(
            pytest.param(network, marks=pytest.mark.slow)
            for network in (
                *map(drawn_network, (0, 1, 3, 4, 5, 6, 7, 8)),
                *(narrow(packable_network(seed)) for seed in (0, 1, 2, 3)),
            )
        ),
    ],
)
def test_drawn_networks_are_bit_exact_as_webassembly(network: Network, tmp_path: Path) -> None:
    shape = network.tensors[network.input].shape
    inputs = np.random.default_rng(0).integers(-128, 128, (4, *shape)).astype(np.int8)
    found = browser_code(read_code(write_code(tmp_path / "code", network, inputs)))
    assert NODE is not None and found.vectors.tolerance < found.code.output.scale
    for module in (found.simd, found.scalar):
        assert found.vectors.compare(run_module(NODE, module, found.vectors)).passed


@needs_zig
def test_the_page_reads_digits_and_asks_for_nothing_else(browser: Any, site: Path) -> None:
    with serving(site) as address, DrawingPage(browser, address) as shown:
        assert shown.text("status-text") == (
            "6 of 6 check vectors right in WebAssembly with SIMD; sha256 of the model as in the "
            "manifest"
        )
        assert shown.draw(SEVEN) == "7"
        assert shown.text("accuracy") == "82.00 %"
        assert "one thread, WebAssembly with SIMD" in shown.text("latency-note")
        assert "WebAssembly, compiled of C code" in shown.text("identity")
        asked = {url.removeprefix(address) for url in shown.requests}
        assert "model/net.wasm" in asked and "scalar.wasm" not in asked
        assert asked - {""} <= {str(path.relative_to(site)) for path in site.rglob("*")}
        assert shown.complaints == []


@needs_zig
@pytest.mark.slow
def test_a_browser_without_simd_takes_the_other_module(browser: Any, site: Path) -> None:
    context = browser.new_context()
    context.add_init_script("WebAssembly.validate = () => false")
    page = context.new_page()
    with serving(site) as address:
        page.goto(address)
        page.locator("#status[data-state=right]").wait_for()
        said = page.locator("#status-text").inner_text()
    context.close()
    assert said.startswith("6 of 6 check vectors right in WebAssembly without SIMD")


@needs_zig
def test_an_altered_module_does_not_run(browser: Any, site: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(site, tmp_path / "own"))
    content = bytearray((own / "model" / "net.wasm").read_bytes())
    content[len(content) // 2] ^= 1
    (own / "model" / "net.wasm").write_bytes(content)
    with serving(own) as address, DrawingPage(browser, address) as shown:
        assert shown.state == "wrong" and "Nothing of it is run" in shown.text("status-text")


def test_without_its_compiler_it_ends_in_one_line(
    code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESSOR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(MissingRuntimeError, match="compressor runtimes install ziglang"):
        compressor.package([code], "browser", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def spoilt(folder: Path, old: str, new: str) -> None:
    """Put another text in the header, as if it had been exported so."""
    header = (folder / "net.h").read_text()
    assert old in header
    (folder / "net.h").write_text(header.replace(old, new))
    tie(folder)


def emptied(folder: Path) -> None:
    (folder / "net.h").write_text("nothing")
    tie(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (emptied, "net.h lacks NET_INPUT_SCALE"),
        (lambda folder: (folder / "net.c").unlink(), "net.c"),
        (
            lambda folder: spoilt(folder, "OUTPUT_SCALE 0", "OUTPUT_SCALE -0"),
            "scale or zero of generated code is none",
        ),
        (lambda folder: (folder / "net.so").write_bytes(b"another"), "another file: the size"),
        (lambda folder: (folder / "net.so.json").unlink(), "a folder is no artefact"),
        (lambda folder: (folder / "b.so.json").write_text("{}"), "holds several artefacts"),
    ],
)
def test_a_damaged_folder_is_refused(spoil: Any, said: str, code: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(code, tmp_path / "net-c"))
    spoil(own)
    told = command_line.compressor("package", own, "--device", "browser", "-o", tmp_path / "site")
    assert told.code == 2 and said in told.stderr and told.stderr.count("\n") == 1
    assert not (tmp_path / "site").exists()


def test_what_c_code_does_not_take_is_refused(code: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is c, litert executes tflite; net\.so runs on arduino"):
        compressor.package([code], "raspberrypi-4", tmp_path / "bundle")
    with pytest.raises(UsageError, match="latencies of this machine's library"):
        compressor.package([code], "browser", tmp_path / "site", latencies=tmp_path / "bench.json")
    with pytest.raises(UsageError, match="takes onnxruntime-web: browser"):
        compressor.package([code], "browser", tmp_path / "site", web_runtime=tmp_path / "x.tgz")


@needs_zig
def test_code_of_another_picture_is_refused(tmp_path: Path) -> None:
    network = packable_network(1)  # of two channels
    shape = network.tensors[network.input].shape
    code = write_code(tmp_path / "code", network, np.zeros((1, *shape), np.int8))
    with pytest.raises(UsageError, match="one picture of one channel"):
        compressor.package([code], "browser", tmp_path / "site")
