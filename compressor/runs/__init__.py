"""The run directory: steps, documents and their schemas, and which file a command means."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
