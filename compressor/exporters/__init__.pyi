from .checking import FORMATS as FORMATS, numbers_of as numbers_of
from .exporting import export as export, export_all as export_all, write_artifact as write_artifact
from .graphs.description import describe_graph_file as describe_graph_file
from .graphs.pruning import prune_graph as prune_graph
from .input_shape import shape_taken as shape_taken
from .inspection import (
    artifact_format as artifact_format,
    describe_artifact_file as describe_artifact_file,
    weight_totals as weight_totals,
)
from .job import ExportJob as ExportJob
from .parity import tolerance as tolerance
from .request import MAX_SLOWDOWN as MAX_SLOWDOWN
from .speed import Speed as Speed
from .tflite.choice import KERNEL_BLOCKS as KERNEL_BLOCKS
from .untrusted import load_untrusted as load_untrusted
from .variants import Variants as Variants
