from .aims import Aim as Aim, Objective as Objective
from .asked_sizes import (
    MOST_OF_CONFIG as MOST_OF_CONFIG,
    check_asked as check_asked,
    check_made as check_made,
    restrained as restrained,
    stored_shapes as stored_shapes,
)
from .batches import (
    largest_difference as largest_difference,
    random_inputs as random_inputs,
    real_inputs as real_inputs,
)
from .class_drops import (
    MAX_CLASS_DROP as MAX_CLASS_DROP,
    ClassDrop as ClassDrop,
    class_drops as class_drops,
    class_recalls_of as class_recalls_of,
    worst_class as worst_class,
)
from .compiled import restore_compilation as restore_compilation
from .custom_classes import missing_class as missing_class, needs_custom as needs_custom
from .evaluation import (
    EVALUATION_BATCH as EVALUATION_BATCH,
    Judged as Judged,
    accuracies as accuracies,
    accuracy_of as accuracy_of,
    flat_outputs as flat_outputs,
    judged as judged,
    predict_scores as predict_scores,
    values_on as values_on,
)
from .files import (
    asked_of as asked_of,
    data_digest as data_digest,
    optimizer_variables as optimizer_variables,
    reason_of as reason_of,
    save_model as save_model,
    source_digest as source_digest,
    trained_on as trained_on,
)
from .framing import (
    framed as framed,
    has_own_layers as has_own_layers,
    refuse_opaque as refuse_opaque,
)
from .head_metrics import Asked as Asked
from .layer_weights import (
    KernelAxes as KernelAxes,
    LayerWeight as LayerWeight,
    kernels_of as kernels_of,
    layer_weights as layer_weights,
)
from .layers import (
    ALL as ALL,
    FLOAT32_BYTES as FLOAT32_BYTES,
    all_layers as all_layers,
    around as around,
    count_parameters as count_parameters,
    dense_variables as dense_variables,
    is_weight as is_weight,
    numbered as numbered,
    paper_name as paper_name,
    prunable_layers as prunable_layers,
    refuse_name as refuse_name,
    refuse_stateful as refuse_stateful,
    resolve_layers as resolve_layers,
    unframed as unframed,
)
from .macs import (
    Uses as Uses,
    count_nonzeros as count_nonzeros,
    kernel_uses as kernel_uses,
    layer_macs as layer_macs,
)
from .objective import (
    asked_for as asked_for,
    check_fit as check_fit,
    objective_for as objective_for,
    objective_of as objective_of,
)
from .open_sizes import (
    InputSize as InputSize,
    Sizes as Sizes,
    named_sizes as named_sizes,
    sized as sized,
    sizes_fed as sizes_fed,
    sizes_given as sizes_given,
)
from .paper import (
    PAPER_NAMES as PAPER_NAMES,
    check_image_shape as check_image_shape,
    paper_cnn as paper_cnn,
)
from .precision import ROUNDING as ROUNDING, half_types as half_types
from .preprocessing import (
    Preprocessing as Preprocessing,
    input_names as input_names,
    port_preprocessing as port_preprocessing,
    port_range as port_range,
    preprocessing_of as preprocessing_of,
    structure as structure,
)
from .provenance import known_data as known_data, needed_data as needed_data
from .sparse_layers import sparse_layer_classes as sparse_layer_classes
from .tracing import (
    Call as Call,
    Trace as Trace,
    graph_of as graph_of,
    trace as trace,
    width_of as width_of,
)
