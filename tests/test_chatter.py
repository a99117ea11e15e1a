"""What compiled code writes goes to the log, unless it is more than chatter."""

import logging
import os
import subprocess
import sys

import pytest

from organelle_fusion.chatter import chatter_noted


def test_lines_of_information_are_noted_and_others_shown(capfd, caplog):
    """Errors are warnings here, as the command has not failed; the descriptor is as before."""
    package = logging.getLogger("organelle_fusion")

    def work():
        with chatter_noted():
            os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called\n")
            os.write(2, b"I0000 00:00:1.5  1 port.cc:153] oneDNN is on\nE0000 no driver\nodd\n")
            raise ZeroDivisionError

    with caplog.at_level(logging.DEBUG, "organelle_fusion"):
        package.addHandler(caplog.handler)
        try:
            with pytest.raises(ZeroDivisionError):
                work()
        finally:
            package.removeHandler(caplog.handler)
    shown = {record.getMessage() for record in caplog.records if record.levelname == "WARNING"}
    noted = {record.getMessage()[:5] for record in caplog.records if record.levelname == "DEBUG"}
    assert (shown, noted) == ({"E0000 no driver", "odd"}, {"WARNI", "I0000"})
    assert capfd.readouterr().err == ""
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


@pytest.mark.parametrize(
    ("backend", "imported"), [("tensorflow", "True True"), ("jax", "False True")]
)
def test_keras_comes_in_silence(backend, imported):
    """TensorFlow as well; on JAX only where it is needed."""
    code = (
        "import sys; from organelle_fusion.chatter import import_keras; import_keras();"
        "first = 'tensorflow' in sys.modules; import_keras(to_save=True);"
        "print(first, 'tensorflow' in sys.modules)"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert (found.stdout, found.stderr) == (f"{imported}\n", "")
