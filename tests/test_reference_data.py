"""Patches of the reference run: those of the chapters, by another way."""

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from organelle_fusion import reference_data
from organelle_fusion.config import load_profile
from organelle_fusion.manifest import read_manifest
from organelle_fusion.phantom import simulate_dataset
from organelle_fusion.predictions import Cell
from organelle_fusion.preprocessing import build_patch_set

WITHOUT = (
    "import sys\n"
    "for name in ('pooch', 'dask', 'distributed', 'imagecodecs', 'papermill', 'IPython',"
    " 'nbformat', 'matplotlib', 'tensorflow', 'keras_tuner', 'zarr', 'pylibCZIrw'):\n"
    "    sys.modules[name] = None\n"
)
"""What a borrowed machine may lack. Some libraries would import it where it is there."""

SMOKE = load_profile("smoke")
PROFILE = SMOKE.model_copy(
    update={
        "phantom": SMOKE.phantom.model_copy(
            update={
                "images_per_class": (1, 0, 1, 0, 0, 0),
                "contact_images_per_class": (1, 1, 0),
                "shape_zyx": (2, 300, 260),
            }
        ),
        "patches": SMOKE.patches.model_copy(update={"min_foreground": 0.1, "max_per_image": 7}),
    }
)


@pytest.mark.parametrize("dataset", ["phantom", "contact"])
def test_patches_are_those_of_the_chapters(tmp_path, dataset):
    """Bit by bit as stacks that are written, read, tabulated and cut (chapters 01, 02 and 11)."""
    variant = reference_data.VARIANTS[dataset]
    images = reference_data.planned_images(PROFILE, dataset)
    for image in images:
        assert not reference_data.is_cut(image, PROFILE, dataset, tmp_path / "cut")
    reference_data.cut_images(images, PROFILE, dataset, tmp_path / "cut")
    for image in images:
        assert reference_data.is_cut(image, PROFILE, dataset, tmp_path / "cut")
    found = reference_data.phantom_patches(PROFILE, dataset, tmp_path / "cut")
    manifest = read_manifest(
        simulate_dataset(tmp_path / "images", PROFILE.phantom, variant=variant, progress=False)
    )
    least = 0.1 if dataset == "phantom" else 0.0
    expected, *_ = build_patch_set(
        manifest,
        channels=PROFILE.channels,
        settings=PROFILE.patches.model_copy(update={"min_foreground": least}),
        output_px=PROFILE.encoder.input_px,
        progress=False,
    )
    assert_frame_equal(found.table, expected.table)
    np.testing.assert_array_equal(found.patches, expected.patches)
    assert found.data_hash == expected.data_hash


def test_the_recipe_knows_what_matters():
    """Folds, size and law of the phantom do; epochs, rotations and the number of trees do not."""

    def changed(section, **values):
        part = getattr(PROFILE, section).model_copy(update=values)
        return reference_data.recipe(PROFILE.model_copy(update={section: part}), "phantom")

    before = reference_data.recipe(PROFILE, "phantom")
    assert changed("training", epochs=99) == before
    assert changed("patches", rotations_deg=(5.0,)) == before
    assert changed("leakage", trees=99) == before
    assert changed("phantom", contact_images_per_class=(5, 5, 5)) == before
    assert changed("phantom", seed=99) != before
    assert changed("phantom", images_per_class=(2, 0, 1, 0, 0, 0)) != before
    assert changed("folds", seed=99) != before
    assert changed("patches", min_foreground=0.2) != before
    assert changed("encoder", input_px=32) != before
    assert reference_data.recipe(PROFILE, "contact") != before


def test_images_are_numbered_as_those_of_the_data_set():
    """Two of the first class and one of the third: the names of `simulate_dataset`."""
    phantom = PROFILE.phantom.model_copy(update={"images_per_class": (2, 0, 1, 0, 0, 0)})
    images = reference_data.planned_images(
        PROFILE.model_copy(update={"phantom": phantom}), "phantom"
    )
    assert [image.name for image in images] == ["full-000", "full-001", "full-002"]
    assert images[0].label == images[1].label != images[2].label
    assert asdict(images[2])["index"] == 2
    assert images[2].pixels_path("x").name == "full-002.npy"
    assert not isinstance(images[0], Cell)


def test_what_the_run_imports_is_listed():
    """Whoever brings the packages by hand has the list of the page on reproducing."""
    code = (
        f"{WITHOUT}"
        "from organelle_fusion import kernels, reference, reference_data, reference_plan, sources\n"
        "from organelle_fusion import models, training\n"
        "print(*{name.split('.')[0] for name, module in sys.modules.items() if module})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=os.environ | {"KERAS_BACKEND": "jax"})  # fmt: skip
    loaded = set(done.stdout.split())
    root = Path(__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.match(r"[\w-]+", one)[0].lower() for one in project["dependencies"]}
    of_module = metadata.packages_distributions()
    needed = {
        distribution.lower()
        for name in loaded
        for distribution in of_module.get(name, [])
        if distribution.lower() in declared
    }
    text = (root / "book/reproducing.md").read_text("utf-8")
    (listed,) = re.findall(r"The run imports (.*?);", text, re.DOTALL)
    names = set(re.findall(r"[\w-]+", listed.lower()))
    assert {"numpy", "numba", "psutil", "cloudpickle", "keras"} <= needed <= names


def test_the_run_does_without_what_a_borrowed_machine_may_lack():
    """Nothing of pages, downloads, clusters or TIFF codecs; Keras and JAX only to train."""
    code = (
        f"{WITHOUT}"
        "import organelle_fusion.cli\n"
        "from organelle_fusion import patches, reference, reference_data, reference_plan, sources\n"
        "print([name for name in ('keras', 'jax') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
