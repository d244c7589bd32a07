from .paper_checkpoint import (
    is_sparse_checkpoint as is_sparse_checkpoint,
    read_sparse_checkpoint as read_sparse_checkpoint,
)
from .predictors import (
    Predictor as Predictor,
    load_predictor as load_predictor,
    sparse_predictor as sparse_predictor,
)
from .statistics import hypothesis as hypothesis, spearman as spearman
from .sweeping import Sweep as Sweep, sweep as sweep
from .workflow import evaluate as evaluate, sparsify as sparsify, train as train
