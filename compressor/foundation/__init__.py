"""What every room stands on: atomic files, quiet late TensorFlow, interrupts, listeners."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
