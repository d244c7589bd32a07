"""C code from int8 networks: readable C99 that needs no runtime, and skips weights that are zero.

The steps:

1. The TFLite exporter makes an int8 graph of the shrunk model.
2. `reading`: the graph becomes a network of integers, whose layers `reference` computes in numpy.
3. `layout`: every map gets the order in memory that its readers take.
4. `plan`: which maps are held whole, and where; the others are computed row by row.
5. `weights`: dense or sparse storage for every layer.
6. `stages`, `emission`: the files. The kernels' text lies in the folder `kernels`.
7. `compiling`: a shared library, which must compute what the reference does, bit for bit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
