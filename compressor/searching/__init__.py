"""From a model and a goal to the best artefact: what to try, trying it, and the recipe."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
