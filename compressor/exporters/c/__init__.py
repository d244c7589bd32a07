"""C code from int8 networks: readable C99 that needs no runtime, and skips weights that are zero.

The steps:

1. The TFLite exporter makes an int8 graph of the shrunk model.
2. `reading`: the graph becomes a network of integers, whose layers `reference` computes in numpy.
3. `narrowing`, `bits`: sums of 16 bits and fewer bits for weights, where validation data allow it.
4. `layout`: every map gets the order in memory that its readers take.
5. `plan`: which maps are held whole, and where; the others are computed row by row.
6. `weights`, `coding`, `choosing`: how the weights of every layer are stored.
7. `weighted`, `units`, `stages`, `emission`: the files. The kernels' text lies in the folder
   `kernels`.
8. `compiling`: a shared library, which must compute what the reference does, bit for bit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
