"""Models as people have them: legacy .h5 files and SavedModels of Keras 2, as Keras 3 models."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
