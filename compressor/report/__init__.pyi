from .artefacts import artefact_text as artefact_text, has_artefacts as has_artefacts
from .bench_terminal import answer_text as answer_text, table_text as table_text
from .export import (
    device_text as device_text,
    devices_text as devices_text,
    export_text as export_text,
    exports_text as exports_text,
    runtimes_text as runtimes_text,
)
from .formatting import cleaned as cleaned
from .inspection import inspect as inspect
from .metrics import before_and_after as before_and_after
from .search import applied_text as applied_text, search_text as search_text
from .sensitivity import (
    sensitivity_text as sensitivity_text,
    write_sensitivity as write_sensitivity,
)
from .tables import summary_text as summary_text
from .terminal import (
    evaluation_text as evaluation_text,
    import_text as import_text,
    inspection_text as inspection_text,
    records_text as records_text,
    shrinking_text as shrinking_text,
)
from .writing import report_run as report_run
