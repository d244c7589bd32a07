"""How a sparse tensor is stored: encodings, their exact bytes, and where they pay.

    ENCODINGS["csr"].encode(kernel), ENCODINGS["csr"].nbytes(kernel)

Needs numpy and nothing else.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
