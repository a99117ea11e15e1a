"""Grad-CAM of this package and of tf-keras-vis on the same model and patches, in one run.

``python -m benchmarks.gradcam`` prints seconds per patch, ratios, and the largest deviation.
"""

import os
from functools import partial
from importlib.metadata import version

os.environ["KERAS_BACKEND"] = "tensorflow"  # the peer's only one
# With oneDNN the peer's gradients, taken one operation at a time, were seen to damage memory on a
# processor with AVX512-BF16, so that the process ended. Neither side has it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
import pandas as pd
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.scores import CategoricalScore

from benchmarks.timing import OURS, compare_ways, print_table
from organelle_fusion.config import load_profile
from organelle_fusion.explain import grad_cam
from organelle_fusion.gradients import BATCH, encoder_names
from organelle_fusion.models import build_model


def flat_model(model: keras.Model) -> keras.Model:
    """The same layers, with the joined feature maps as the output of a layer that the peer finds.

    The peer is spared a call for each organelle: it gets the fused map at once.
    """
    image = keras.Input(model.input_shape[1:])
    planes = keras.ops.split(model.get_layer("scale")(image), model.input_shape[-1], axis=-1)
    maps = [
        model.get_layer(name)(plane)[0]
        for name, plane in zip(encoder_names(model), planes, strict=True)
    ]
    joined = keras.layers.Concatenate(name="joined_maps")(maps)
    embedding = keras.layers.GlobalAveragePooling2D()(joined)
    return keras.Model(image, model.get_layer("fusion_head")(embedding))


def peer_maps(peer: Gradcam, patches: np.ndarray, targets: np.ndarray, batch: int) -> np.ndarray:
    """Fused maps by tf-keras-vis, before ReLU and in the size of the feature maps."""
    return np.concatenate(
        [
            peer(
                CategoricalScore(targets[start : start + batch].tolist()),
                patches[start : start + batch].astype(np.float32),
                penultimate_layer="joined_maps",
                seek_penultimate_conv_layer=False,
                activation_modifier=None,
                expand_cam=False,
                normalize_cam=False,
            )
            for start in range(0, len(patches), batch)
        ]
    )


def compare(profile: str = "quick", patches: int = 128) -> pd.DataFrame:
    """Time ours, and the peer patch by patch and in batches; columns as of `timing.compare_ways`.

    Peak memory stays empty: TensorFlow's arrays are not seen from here.
    """
    settings = load_profile(profile)
    model = build_model(
        "intermediate",
        channels=settings.channels,
        n_classes=6,
        encoder=settings.encoder,
        training=settings.training,
    )
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (patches, *model.input_shape[1:]), dtype=np.uint8)
    targets = random.integers(0, 6, patches)
    peer = Gradcam(flat_model(model), clone=False)
    name = f"tf-keras-vis {version('tf-keras-vis')}"
    ways = {
        OURS: lambda: grad_cam(model, pixels, targets).sum(axis=1),
        f"{name}, patch by patch": partial(peer_maps, peer, pixels, targets, 1),
        f"{name}, batches of {BATCH}": partial(peer_maps, peer, pixels, targets, BATCH),
    }
    task = "Grad-CAM of intermediate fusion, s per patch"
    frame = compare_ways("gradcam", task, ways, units=patches, repeats=3)
    return frame.assign(peak_mb=np.nan)


def main() -> None:
    """Print all rows."""
    print_table(compare())


if __name__ == "__main__":
    main()
