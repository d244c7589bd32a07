from .benching import bench as bench
from .case_process import Measured as Measured
from .subjects import default_output as default_output
