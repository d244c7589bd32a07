from .confinement import confine_libraries as confine_libraries
from .custom_modules import (
    custom_digests as custom_digests,
    custom_names as custom_names,
    load_custom as load_custom,
)
from .device_errors import deploy_errors as deploy_errors
from .files import (
    LOCK as LOCK,
    atomic_path as atomic_path,
    atomic_paths as atomic_paths,
    json_text as json_text,
    lock_folder as lock_folder,
    read_json as read_json,
    sha256 as sha256,
    storage_errors as storage_errors,
    temporary_folder as temporary_folder,
    write_bytes as write_bytes,
    write_files as write_files,
    write_json as write_json,
    write_text as write_text,
)
from .interrupts import Interrupts as Interrupts
from .kinds_of_numbers import (
    is_number as is_number,
    is_whole as is_whole,
    make_plain as make_plain,
)
from .listener import Listener as Listener, SilentListener as SilentListener
from .memory import release_memory as release_memory
from .quiet_tensorflow import NativeOutput as NativeOutput
from .several import several as several
from .versions import (
    experiment_versions as experiment_versions,
    library_versions as library_versions,
)
