from .distillation import Distillation as Distillation
from .gradients import gradient_function as gradient_function
from .loop import (
    EVALUATION_BATCH as EVALUATION_BATCH,
    Progress as Progress,
    TrainingOptions as TrainingOptions,
    accuracies as accuracies,
    accuracy_of as accuracy_of,
    derive_seed as derive_seed,
    fit as fit,
    predict_scores as predict_scores,
)
from .presets import PRESETS as PRESETS
