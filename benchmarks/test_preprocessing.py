"""Times of preprocessing and of stitching, by pytest-benchmark."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.stacks import write_planes
from organelle_fusion import intensity, patches, stitching
from organelle_fusion.config import load_profile, paper_px_to_um
from organelle_fusion.volumes import Volume

EDGE = 1364
OF = f"of {EDGE} × {EDGE} px, 3 channels"


@pytest.fixture(scope="module")
def volume(tmp_path_factory) -> Volume:
    """Four planes in a file, a tenth of their pixels bright, as an organelle's are."""
    random = np.random.default_rng(0)
    shape = (4, 3, EDGE, EDGE)
    planes = random.poisson(100, shape).astype(np.uint16)
    planes[random.random(shape) < 0.1] += 900
    return write_planes(tmp_path_factory.mktemp("stack") / "stack.ome.tif", planes, shape)


@pytest.fixture(scope="module")
def statistics(volume) -> pd.DataFrame:
    return intensity.stack_statistics(volume)


def test_histogram_and_threshold(benchmark, volume):
    benchmark.extra_info.update(name="histograms and thresholds", unit=f"4 planes {OF}")
    found = benchmark.pedantic(intensity.stack_statistics, (volume,), rounds=20, warmup_rounds=1)
    # Otsu of a noisy background near 100 and a foreground near 1,000
    assert found["otsu"].between(130, 900).all()


def test_foreground_counts(benchmark, volume, statistics):
    benchmark.extra_info.update(name="patch table of one size", unit=f"4 planes {OF}")
    table = benchmark.pedantic(
        patches.patch_table,
        (volume, paper_px_to_um(350)),
        {"min_foreground": 0.03, "statistics": statistics},
        rounds=20,
        warmup_rounds=1,
    )
    assert len(table) == 4 * 9


def test_extract_patches(benchmark, volume, statistics):
    profile = load_profile("quick")
    table = patches.patch_table(
        volume, paper_px_to_um(350), min_foreground=0.0, statistics=statistics
    )
    output_px = profile.encoder.input_px
    benchmark.extra_info.update(
        name="patches cut, scaled and resized", unit=f"36 patches of 350 px to {output_px} px"
    )
    cut = benchmark.pedantic(
        patches.extract_patches,
        (volume, table),
        {"output_px": output_px, "statistics": statistics},
        rounds=20,
        warmup_rounds=1,
    )
    assert cut.shape == (36, output_px, output_px, 3)


def test_stitch(benchmark):
    tiles = stitching.tile_table((EDGE, EDGE), 0, 350, overlap=True)
    maps = np.ones((len(tiles), 3, 14, 14), np.float32)
    benchmark.extra_info.update(
        name="maps stitched, overlapping by half", unit=f"a plane {OF}, {len(tiles)} maps of 14 px"
    )
    plane = benchmark.pedantic(
        stitching.stitch,
        (maps, tiles, (EDGE, EDGE)),
        {"overlap": True},
        rounds=20,
        warmup_rounds=1,
    )
    np.testing.assert_allclose(plane, 1, rtol=1e-6)
