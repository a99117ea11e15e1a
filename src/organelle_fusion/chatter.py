"""Keras and TensorFlow imported without the lines that TensorFlow's compiled code begins with.

It writes them before it reads ``TF_CPP_MIN_LOG_LEVEL``, which hides what it says later.
"""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from organelle_fusion.run_log import note

_LOGGER = logging.getLogger(__name__)
_CHATTER = re.compile(r"WARNING: All log messages before absl|[IW]\d{4} ")


@contextmanager
def chatter_noted() -> Iterator[None]:
    """Keep what compiled code writes to stderr in the block for the log file.

    Lines that are no information of TensorFlow are shown as warnings when the block ends.
    """
    sys.stderr.flush()
    with tempfile.TemporaryFile() as written:
        terminal = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            written.seek(0)
            for line in written.read().decode("utf-8", "replace").splitlines():
                if _CHATTER.match(line):
                    note(line)
                elif line.strip():
                    _LOGGER.warning("%s", line)


def import_keras(*, to_save: bool = False) -> None:
    """Import Keras on the backend that is set, with no more said than it takes.

    Parameters
    ----------
    to_save
        A network will be saved or loaded. For this Keras imports TensorFlow, whatever it computes
        on.

    Raises
    ------
    ImportError, ValueError
        The backend is not installed, or there is none of this name.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with chatter_noted():
        import keras

        if to_save:
            keras.saving.serialize_keras_object(keras.layers.Flatten())
