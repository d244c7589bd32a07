from .emission import DECODING as DECODING, TARGETS as TARGETS
from .exporting import export_c as export_c
