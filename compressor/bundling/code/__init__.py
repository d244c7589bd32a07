"""Bundles of generated C code, compiled when they are packed.

Public names: Code, code_folder and read_code (what was exported), browser_code,
firmware_project.
"""

from compressor.bundling.code.browser import browser_code
from compressor.bundling.code.folder import Code, code_folder, read_code
from compressor.bundling.code.project import firmware_project

__all__ = ["Code", "browser_code", "code_folder", "firmware_project", "read_code"]
