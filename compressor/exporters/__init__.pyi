from .exporting import (
    Variants as Variants,
    export as export,
    export_all as export_all,
    write_artifact as write_artifact,
)
from .inspection import (
    artifact_format as artifact_format,
    describe_artifact_file as describe_artifact_file,
    weight_totals as weight_totals,
)
from .job import FORMATS as FORMATS, ExportJob as ExportJob
from .parity import ACCURACY_TOLERANCE as ACCURACY_TOLERANCE
from .tflite.choice import KERNEL_BLOCKS as KERNEL_BLOCKS
