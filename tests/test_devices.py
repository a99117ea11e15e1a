"""Where Keras computes."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from organelle_fusion import devices


def test_backend_name_follows_keras_rule(tmp_path, monkeypatch):
    """Variable, then file, then TensorFlow."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert devices.backend_name() == "tensorflow"
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert devices.backend_name() == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert devices.backend_name() == "jax"


@pytest.mark.keras
def test_a_cpu_is_called_a_cpu(monkeypatch):
    """Kind and name on both backends, as far as this machine has only that."""
    import jax

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert devices.keras_device() == jax.default_backend()
    assert devices.device_name() == jax.devices()[0].device_kind


@pytest.mark.keras
def test_a_device_is_a_kind():
    """Without a number: the second GPU computes what the first does."""
    assert devices.keras_device() in {"cpu", "gpu", "tpu"}


@pytest.mark.parametrize(("torch", "expected"), [("cuda", "gpu"), ("cpu", "cpu"), ("mps", "mps")])
def test_on_torch_a_tensor_tells_where_it_is(monkeypatch, torch, expected):
    """A stand-in: PyTorch is not installed, and for it Keras has no `distribution` to ask."""
    tensor = SimpleNamespace(device=SimpleNamespace(type=torch))
    ops = SimpleNamespace(convert_to_tensor=lambda value: tensor)
    monkeypatch.setitem(sys.modules, "keras", SimpleNamespace(ops=ops))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert devices.keras_device() == devices.device_name() == expected


def test_jax_is_asked_without_keras():
    """Importing Keras takes seconds."""
    code = (
        "import os, sys; os.environ['KERAS_BACKEND'] = 'jax'\n"
        "from organelle_fusion import devices\n"
        "assert devices.device_name() and devices.keras_device()\n"
        "print('keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
