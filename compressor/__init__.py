"""Prune Keras models, store them sparse, and measure what that brings.

Each command of the command line is a call here: `import_model` (`import`), `train`, `prune_run`
(`prune` for a model in memory), `shrink_file` (`shrink` for one in memory), `sensitivity`,
`sparsify`, `search`, `apply_recipe` (`apply`), `export` (`export_all` for every format), `bench`,
`keygen`, `package`, `verify`, `write_runner` and `install_runner` (`runner`), `deploy`
(`roll_back`, `remove_bundle`, `served`), `evaluate`, `sweep`, `report_run`, `inspect`. Nothing is
imported before it is used: `import compressor` takes milliseconds, and TensorFlow is loaded by the
first call that needs it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
