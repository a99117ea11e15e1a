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
    """Kind of device that Keras computes on: ``cpu``, ``gpu`` or ``tpu``, or as PyTorch has it.

    Keras is imported here only, and not even here on JAX, which can be asked itself, in half of
    the time.
    """
    if backend_name() == "jax":
        import jax

        return jax.default_backend()
    import keras

    if backend_name() == "torch":  # for which Keras lists no devices; a tensor knows its own
        kind = keras.ops.convert_to_tensor(0.0).device.type
        return {"cuda": "gpu"}.get(kind, kind)
    return keras.distribution.list_devices()[0].split(":")[0]


def device_name() -> str:
    """What the device is called, as its maker does where JAX says so; else its kind."""
    if backend_name() == "jax":
        import jax

        return jax.devices()[0].device_kind
    return keras_device()
