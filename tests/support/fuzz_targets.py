"""Everything that `make fuzz` tries."""

from __future__ import annotations

import fuzz_bundles
import fuzz_documents
import fuzz_files
import fuzz_models
import fuzz_pictures
import fuzz_wire
from fuzzing import Target

TARGETS: dict[str, Target] = {
    **fuzz_files.TARGETS,
    **fuzz_models.TARGETS,
    **fuzz_pictures.TARGETS,
    **fuzz_bundles.TARGETS,
    **fuzz_documents.TARGETS,
    **fuzz_wire.TARGETS,
}
