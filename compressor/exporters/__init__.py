"""Writing a model in the formats of runtimes, one module a format."""
