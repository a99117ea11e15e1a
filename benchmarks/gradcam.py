"""Grad-CAM of this package and of tf-keras-vis on the same model and patches, in one run.

``python -m benchmarks.gradcam`` prints milliseconds per patch, ratios, and the largest deviation.
"""

import os
import time

os.environ["KERAS_BACKEND"] = "tensorflow"  # the peer's only one
# With oneDNN the peer's gradients, taken one operation at a time, were seen to damage memory on a
# processor with AVX512-BF16, so that the process ended. Neither side has it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
import typer
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.scores import CategoricalScore

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


def main(profile: str = "quick", patches: int = 128, repeats: int = 3) -> None:
    """Time all three in turn and print the fastest run of each."""
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
    ways = {
        "organelle_fusion": lambda p, t: grad_cam(model, p, t).sum(axis=1),
        "tf-keras-vis, patch by patch": lambda p, t: peer_maps(peer, p, t, 1),
        f"tf-keras-vis, batches of {BATCH}": lambda p, t: peer_maps(peer, p, t, BATCH),
    }
    for way in ways.values():
        way(pixels[:BATCH], targets[:BATCH])  # what is compiled once
    seconds = {name: [] for name in ways}
    found = {}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            found[name] = way(pixels, targets)
            seconds[name].append(time.perf_counter() - started)
    ours, *peers = ways
    for name in ways:
        ratio = min(seconds[name]) / min(seconds[ours])
        print(f"{name:32} {1000 * min(seconds[name]) / patches:8.2f} ms per patch  ×{ratio:.2f}")
    deviation = max(np.abs(found[name] - found[ours]).max() for name in peers)
    print(f"largest deviation {deviation:.1e}, of maps up to {np.abs(found[ours]).max():.2g}")


if __name__ == "__main__":
    typer.run(main)
