"""The whole pipeline on one machine: every part a process, watched and restarted."""

from recpipe.local.home import Home
from recpipe.local.supervisor import Supervisor, SupervisorError

__all__ = ["Home", "Supervisor", "SupervisorError"]
