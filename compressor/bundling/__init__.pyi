from .devices import find as find, known as known
from .keys import keygen as keygen
from .packaging import package as package
from .verification import verify as verify
