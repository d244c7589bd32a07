"""How a sparse tensor is stored: encodings, their exact bytes, and where they pay.

    encoding = get_encoding("csr")
    encoded = encoding.encode(kernel)
    encoding.nbytes(encoded), encoding.decode(encoded)

A new encoding is a module with one subclass of Encoding, and one line in registry.py.
Needs numpy and nothing else.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
