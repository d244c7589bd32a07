from .devices import find_device as find_device, known as known
from .keys import keygen as keygen
from .packaging import package as package
from .verification import verify as verify
