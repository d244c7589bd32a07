"""The commands of the device program, a module each.

Each has `SUMMARY`, `add_arguments(parser)`, and `execute(arguments, source) -> exit code`.
"""
