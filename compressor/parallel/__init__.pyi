from .opening import check_workers as check_workers, crew_of as crew_of
from .pool import Crew as Crew, Pool as Pool
from .there import (
    WorkLostError as WorkLostError,
    data_to_send as data_to_send,
    training_data as training_data,
)
