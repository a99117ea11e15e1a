"""What a worker process and its keeper do first: they end with the process that started them.

Dask runs `dask_setup` in each of them, since `cluster.start_cluster` names this module to it.
"""

import os
import signal
import threading
import time

_SECONDS_BETWEEN_LOOKS = 0.5


def dask_setup(server: object) -> None:
    """Leave Ctrl-C to the process that started this one, and end as soon as that is gone.

    Ctrl-C reaches all processes of a terminal, but the one that started the workers ends them in
    order. If it was killed, a worker would else compute its cell to the end, and write, beside the
    next run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:  # an orphan gets another
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    os._exit(1)
