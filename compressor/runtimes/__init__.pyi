from .compiled import load as load
from .compilers import ZIGLANG as ZIGLANG, run_compiler as run_compiler, zig_cc as zig_cc
from .listing import describe as describe, install as install
from .registry import (
    RUNTIMES as RUNTIMES,
    c_compiler as c_compiler,
    find as find,
    python_of as python_of,
    state as state,
)
from .runner import Runner as Runner
from .timing import median_latencies as median_latencies, peak_memories as peak_memories
