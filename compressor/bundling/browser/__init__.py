"""The bundle for browsers: a static page that runs an artefact.

Public names: site_members, code_site_members.
"""

from compressor.bundling.browser.site import code_site_members, site_members

__all__ = ["code_site_members", "site_members"]
