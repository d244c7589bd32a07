from ._version import __version__ as __version__
from .bundling import keygen as keygen, package as package, verify as verify
from .data import Dataset as Dataset, load_dataset as load_dataset
from .errors import CompressorError as CompressorError
from .experiment import (
    Predictor as Predictor,
    Sweep as Sweep,
    evaluate as evaluate,
    load_predictor as load_predictor,
    sparsify as sparsify,
    sweep as sweep,
    train as train,
)
from .exporters import export as export, export_all as export_all, prune_graph as prune_graph
from .foundation import load_custom as load_custom
from .importing import import_model as import_model
from .measuring import bench as bench
from .pruning import (
    Criterion as Criterion,
    Plan as Plan,
    Pruned as Pruned,
    PruningSpec as PruningSpec,
    apply_masks as apply_masks,
    kept_weights as kept_weights,
    magnitude_prune as magnitude_prune,
    make_plan as make_plan,
    prune as prune,
    prune_run as prune_run,
    register_criterion as register_criterion,
    sensitivity as sensitivity,
)
from .remote import (
    SshHost as SshHost,
    deploy as deploy,
    install_runner as install_runner,
    remove_bundle as remove_bundle,
    roll_back as roll_back,
    served as served,
    write_runner as write_runner,
)
from .report import inspect as inspect, report_run as report_run
from .runtimes import load as load
from .searching import (
    Evolution as Evolution,
    Goal as Goal,
    Recipe as Recipe,
    apply_recipe as apply_recipe,
    read_recipe as read_recipe,
    search as search,
)
from .shrinking import Shrunk as Shrunk, shrink as shrink, shrink_file as shrink_file
from .training import Distillation as Distillation, TrainingOptions as TrainingOptions
