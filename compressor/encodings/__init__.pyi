from .break_even import (
    computed_break_even as computed_break_even,
    measured_break_even as measured_break_even,
)
from .coo_paper import SparseKernel as SparseKernel
from .gaps import split_gaps as split_gaps
from .layouts import ENCODINGS as ENCODINGS, Encoding as Encoding
from .sizes import (
    ENTROPY as ENTROPY,
    entropy_bound_bytes as entropy_bound_bytes,
    expected_model_bytes as expected_model_bytes,
    model_bytes as model_bytes,
)
