from .emission import TARGETS as TARGETS
from .exporting import export_c as export_c
