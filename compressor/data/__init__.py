"""Data sets: the embedded MNIST, IDX files, and .npz files. Needs numpy only."""

from compressor.data.dataset import Dataset
from compressor.data.loading import load_dataset
from compressor.data.mnist import load_mnist

__all__ = ["Dataset", "load_dataset", "load_mnist"]
