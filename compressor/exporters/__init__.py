"""The formats that a model is exported to, and the parity check of every artefact."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
