"""Untrusted pictures, PNG, IDX and .npy, as arrays that a model takes."""
