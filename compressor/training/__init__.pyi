from .distillation import Distillation as Distillation, as_logits as as_logits
from .gradients import gradient_function as gradient_function
from .loop import (
    Progress as Progress,
    TrainingOptions as TrainingOptions,
    derive_seed as derive_seed,
    fit as fit,
)
from .presets import PRESETS as PRESETS
from .shifting import shifted as shifted, usual_shift as usual_shift
from .weights import (
    ClassWeight as ClassWeight,
    example_weights as example_weights,
)
