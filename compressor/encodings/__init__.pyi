from .base import Encoded as Encoded
from .break_even import (
    computed_break_even as computed_break_even,
    measured_break_even as measured_break_even,
)
from .entropy import ENTROPY as ENTROPY
from .registry import ENCODINGS as ENCODINGS, get_encoding as get_encoding
from .sizes import expected_model_bytes as expected_model_bytes, model_bytes as model_bytes
