from .conversion import import_model as import_model
from .loading import load_model as load_model, optimizer_variables as optimizer_variables
