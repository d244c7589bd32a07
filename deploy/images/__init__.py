"""Pictures that nobody vouches for: PNG, IDX and .npy as arrays that a model takes."""
