"""The costs of the cost model of C code: fitted to what layers take, in each form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks import _cortex_m, calibrate
from compressor.errors import CheckFailedError
from compressor.exporters.c import costs, reference
from compressor.exporters.c.emission import emit

TRUE = {
    **{"tap": 6.0, "shared_tap": 5.0, "column": 2.5, "packed_tap": 4.0, "packed_column": 2.0},
    **{"dense": 5.0, "gap": 7.0, "shared_gap": 8.5, "decoded": 18.0, "decoded_tap": 40.0},
    **{"word": 10.0, "word_bit": 9.0},
}


@pytest.mark.slow
def test_costs_are_found_again_whatever_a_run_takes_besides() -> None:
    rows = []
    shapes = itertools.count(100, 77)
    besides: dict[tuple[object, ...], int] = {}
    for network in calibrate.layers(seed=3):
        key = (network.tensors[1].shape, getattr(network.layers[0], "packed", False))
        more = besides.setdefault(key, next(shapes))
        for work, _ in calibrate.in_forms(network, "cortex-m4"):
            taken = more + sum(TRUE[kind] * count for kind, count in work.items())
            rows.append(calibrate.Measured(key, work, taken))
    found, error = calibrate.fitted(rows)
    assert found == pytest.approx(TRUE, abs=0.2)
    assert error < 0.01


def test_each_form_is_other_code_for_the_same_layer() -> None:
    networks = list(calibrate.layers(seed=0))
    for network in (networks[0], networks[-1]):
        sources = [source for _, source in calibrate.in_forms(network, "cortex-m0")]
        assert len({source.files["layer_weights.h"] for source in sources}) == len(sources) >= 4


@pytest.mark.slow
def test_hosts_have_forms_in_rows_and_of_whole_maps() -> None:
    kinds = {
        kind
        for network in calibrate.layers(seed=0)
        for work, _ in calibrate.in_forms(network, costs.HOST)
        for kind in work
    }
    assert {"tap", "shared_tap", "map_product", "vector", "gap", "listed"} <= kinds
    assert kinds <= costs.COSTS[costs.HOST].keys()


@pytest.mark.parametrize("dear", ["gap", "dense"])
def test_the_exporter_takes_what_costs_less(dear: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = list(calibrate.layers(seed=0))[-1]
    inputs = np.zeros((1, *network.tensors[0].shape), np.int8)
    monkeypatch.setitem(costs.COSTS, "cortex-m4", dict.fromkeys(costs.KINDS, 1e6) | {dear: 1e9})
    source = emit(network, "one", "cortex-m4", "latency", (inputs, reference.run(network, inputs)))
    (row,) = source.rows
    assert (row.encoding == "dense") == (dear == "gap")


@pytest.mark.slow
@pytest.mark.skipif(bool(_cortex_m.missing()), reason=f"not installed: {_cortex_m.missing()}")
def test_a_board_counts_what_the_exporter_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stored costs are those of today's kernels: few layers say much the same."""
    few = list(calibrate.layers(seed=5))[-3:-1]
    monkeypatch.setattr(calibrate, "layers", lambda _: iter(few))
    found, _ = calibrate.fitted(calibrate.measure("cortex-m4"))
    stored = costs.COSTS["cortex-m4"]
    assert found["gap"] == pytest.approx(stored["gap"], rel=0.3)
    assert found["dense"] == pytest.approx(stored["dense"], rel=0.3)


def test_a_wrong_integer_ends_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    network = list(calibrate.layers(seed=0))[-1]
    ((_, source), *_) = calibrate.in_forms(network, "cortex-m4")

    def wrong(*_: object) -> _cortex_m.Counted:
        return _cortex_m.Counted(1, 1, 1, 1, 1.0, 4, 2)

    monkeypatch.setattr(_cortex_m, "count", wrong)
    with pytest.raises(CheckFailedError, match="something else: 2 integers"):
        calibrate.counted(source, "cortex-m4")
