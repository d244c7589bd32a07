"""Bundles of generated C code, compiled when they are packed.

Public names: Code, code_folder, code_target and read_code (what was exported), browser_code,
firmware_project, BUILT and MAKEFILE (in the project).
"""

from compressor.bundling.code.browser import browser_code
from compressor.bundling.code.folder import Code, code_folder, code_target, read_code
from compressor.bundling.code.project import BUILT, MAKEFILE, firmware_project

__all__ = [
    "BUILT",
    "MAKEFILE",
    "Code",
    "browser_code",
    "code_folder",
    "code_target",
    "firmware_project",
    "read_code",
]
