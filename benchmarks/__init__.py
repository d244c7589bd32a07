"""Measurements of this project, each run by `python -m benchmarks.NAME`."""
