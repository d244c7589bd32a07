"""The commands of the command line: each reads options, calls one function, prints.

`cli.py` puts them together.
"""
