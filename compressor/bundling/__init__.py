"""Bundles, made and checked on the host: keys, packaging, verification.

What a bundle is, and all that a device does with one, is in `deploy`.
"""
