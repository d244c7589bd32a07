"""Other machines, reached through ssh, and the store of bundles there."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
