"""Where Keras computes, asked without importing Keras as long as that can be avoided."""

import json
import os
from pathlib import Path


def backend_name() -> str:
    """Keras' backend in this process, by Keras' own rule and without importing it.

    The environment variable ``KERAS_BACKEND`` decides, then ``keras.json`` in ``KERAS_HOME``
    (default ``~/.keras``), then TensorFlow.
    """
    named = os.environ.get("KERAS_BACKEND")
    if named:
        return named
    settings = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
    if not settings.is_file():
        return "tensorflow"
    return json.loads(settings.read_text("utf-8")).get("backend", "tensorflow")


def keras_device() -> str:
    """Kind of device that Keras computes on, see `training.device`; Keras is imported here only.

    And not even here on JAX, which can be asked itself, in half of the time.
    """
    if backend_name() == "jax":
        import jax

        return jax.default_backend()
    from organelle_fusion.training import device

    return device()


def device_name() -> str:
    """What the device is called, as its maker does where JAX says so; else its kind."""
    if backend_name() == "jax":
        import jax

        return jax.devices()[0].device_kind
    return keras_device()
