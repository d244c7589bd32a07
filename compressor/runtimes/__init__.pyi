from .listing import describe as describe, install as install
from .registry import RUNTIMES as RUNTIMES, find as find, python_of as python_of, state as state
from .runner import Runner as Runner
from .timing import median_latencies as median_latencies
