from .deployment import (
    deploy as deploy,
    install_runner as install_runner,
    remove_bundle as remove_bundle,
    roll_back as roll_back,
    served as served,
    write_runner as write_runner,
)
from .ssh import PYTHON as PYTHON, SshHost as SshHost
from .ssh_process import SshProcess as SshProcess, TooMuchError as TooMuchError
from .workspace import RemoteWorkspace as RemoteWorkspace
