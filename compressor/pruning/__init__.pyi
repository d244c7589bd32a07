from .bare_kernels import (
    ChannelChooser as ChannelChooser,
    GraphKernels as GraphKernels,
    KernelMasks as KernelMasks,
    prune_channels as prune_channels,
    prune_kernels as prune_kernels,
)
from .criteria import (
    Criterion as Criterion,
    get_criterion as get_criterion,
    register_criterion as register_criterion,
)
from .in_memory import Pruned as Pruned, prune as prune
from .kernels import (
    FROZEN as FROZEN,
    all_kernels as all_kernels,
    weights_by_key as weights_by_key,
)
from .magnitude import kept_weights as kept_weights, magnitude_prune as magnitude_prune
from .masks import (
    apply_masks as apply_masks,
    load_masks as load_masks,
    masked_variables as masked_variables,
)
from .plan import Plan as Plan, make_plan as make_plan
from .rounding import GRIDS as GRIDS, RoundedKernel as RoundedKernel, Rounding as Rounding
from .rounds import (
    PruningStep as PruningStep,
    calibration_inputs as calibration_inputs,
    check_drop as check_drop,
)
from .run import (
    data_to_prune as data_to_prune,
    prune_into as prune_into,
    prune_run as prune_run,
    step_config as step_config,
)
from .sensitivity_analysis import sensitivity as sensitivity
from .spec import PruningSpec as PruningSpec, SpecLike as SpecLike
from .steps import (
    Records as Records,
    dense_record as dense_record,
    prune_in_folders as prune_in_folders,
)
