"""The bundle for browsers: a static page that runs an artefact on onnxruntime-web.

Public names: site_members.
"""

from compressor.bundling.browser.site import site_members

__all__ = ["site_members"]
