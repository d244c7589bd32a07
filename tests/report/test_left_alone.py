"""What the terminal says of layers that were not pruned: a line for each reason."""

from __future__ import annotations

from compressor.report.terminal import records_text


def test_a_frozen_base_is_one_line_that_says_how_to_unfreeze_it() -> None:
    frozen = {f"conv{number}": "it is frozen" for number in range(52)}
    record = {"step_2_1": {"sparsity": 0.5, "left_alone": frozen | {"odd": "it is odd"}}}

    lines = [line for line in records_text(record).splitlines() if "left alone" in line]

    assert len(lines) == 2
    assert "52 layers" in lines[0]
    assert "conv0" in lines[0]
    assert "trainable = True" in lines[0]
    assert lines[1] == "  left alone: odd: it is odd"
