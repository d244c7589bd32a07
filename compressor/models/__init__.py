"""Keras models: loading and saving, what they take and give, their layers and MACs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
