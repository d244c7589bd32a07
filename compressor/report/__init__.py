"""The report of a run: tables, figures, and the answer to the paper's hypothesis.

Reads a results document (results.schema.json), a bench document (bench.schema.json) and the models
of a run directory, and writes report.html, report.md, results.csv and figures/. Imports matplotlib,
scipy, numpy and Jinja2 only when something is drawn, computed or written.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
