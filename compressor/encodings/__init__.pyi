from .coo_paper import SparseKernel as SparseKernel
from .layouts import ENCODINGS as ENCODINGS, Encoding as Encoding, split_gaps as split_gaps
from .sizes import (
    ENTROPY as ENTROPY,
    computed_break_even as computed_break_even,
    entropy_bound_bytes as entropy_bound_bytes,
    expected_model_bytes as expected_model_bytes,
    measured_break_even as measured_break_even,
    model_bytes as model_bytes,
)
