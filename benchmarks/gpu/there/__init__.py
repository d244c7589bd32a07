"""What measures on the GPU's machine; `measure.py` there starts it.

It runs where compressor is not: it imports the standard library, numpy, and `deploy` out of the
runner.pyz beside it, needs Python 3.9, and installs ONNX Runtime from the wheel beside it.
"""
