from .arrays import load_arrays as load_arrays, save_arrays as save_arrays
from .dataset import Dataset as Dataset
from .drawing import draw_examples as draw_examples, judged_part as judged_part
from .inputs import (
    Array as Array,
    Inputs as Inputs,
    Targets as Targets,
    listed as listed,
    named as named,
    rows as rows,
    take as take,
)
from .loading import load_dataset as load_dataset
from .training_data import TrainingData as TrainingData
