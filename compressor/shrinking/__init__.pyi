from .atoms import Atoms as Atoms
from .channels import (
    ChannelMap as ChannelMap,
    VariableAxis as VariableAxis,
    channel_map as channel_map,
)
from .files import shrink_file as shrink_file
from .rebuilding import rebuild as rebuild
from .removal import (
    COMPARED_EXAMPLES as COMPARED_EXAMPLES,
    Shrunk as Shrunk,
    shrink as shrink,
)
