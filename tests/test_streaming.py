"""Planes are handed out once each, in order, whatever the number of threads."""

import threading

import joblib
import numpy as np
import pytest

from organelle_fusion import streaming
from organelle_fusion.streaming import map_channels, map_planes, thread_count
from organelle_fusion.volumes import open_volume, write_ome_tiff

STACK = np.random.default_rng(0).integers(0, 65_536, (3, 7, 20, 30), np.uint16)


@pytest.fixture
def volume(tmp_path):
    write_ome_tiff(tmp_path / "a.ome.tif", STACK, "abc", pixel_size_um=0.1, z_step_um=0.5)
    return open_volume(tmp_path / "a.ome.tif")


@pytest.fixture(params=[1, 2, 5])
def threads(request, monkeypatch):
    monkeypatch.setattr(streaming, "thread_count", lambda: request.param)
    return request.param


def test_planes_come_in_the_order_asked(volume, threads):
    found = list(map_planes(volume, lambda z, plane: (z, plane.copy()), [5, 0, 3]))
    assert [z for z, _ in found] == [5, 0, 3]
    for z, plane in found:
        np.testing.assert_array_equal(plane, STACK[:, z])
    assert [int(total) for total in map_planes(volume, lambda _, plane: plane.sum())] == (
        STACK.sum(axis=(0, 2, 3)).tolist()
    )


def test_channels_come_plane_by_plane_in_the_order_selected(volume, threads):
    found = list(
        map_channels(volume.select(["c", "a"]), lambda z, channel, p: (z, channel, p.copy()))
    )
    assert [place for *place, _ in found] == [[z, channel] for z in range(7) for channel in (0, 1)]
    for z, channel, pixels in found:
        np.testing.assert_array_equal(pixels, STACK[[2, 0][channel], z])


def test_the_first_plane_that_fails_is_the_one_reported(volume, threads):
    def fail_from_third(z, plane):
        if z >= 2:
            raise ValueError(f"plane {z}")
        return z

    results = map_planes(volume, fail_from_third)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="plane 2"):
        next(results)


def test_each_thread_has_one_plane(volume, threads):
    """Never more arrays, nor more threads at work, than threads."""
    arrays, at_work, most = set(), [], []
    lock = threading.Lock()

    def note(z, plane):
        with lock:
            arrays.add(plane.ctypes.data)
            at_work.append(z)
            most.append(len(at_work))
        np.sort(plane, axis=None)
        with lock:
            at_work.remove(z)

    list(map_planes(volume, note))
    assert 1 <= len(arrays) <= threads
    assert max(most) <= threads


@pytest.mark.parametrize(
    ("allowed", "processors", "expected"),
    [
        (None, 4, 4),
        (None, 64, 8),
        ("1", 4, 1),
        ("3,2", 4, 3),
        ("16", 4, 4),
        ("0", 4, 4),
        ("", 2, 2),
    ],
)
def test_threads_are_those_allowed(monkeypatch, allowed, processors, expected):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if allowed is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", allowed)
    monkeypatch.setattr(joblib, "cpu_count", lambda: processors)
    assert thread_count() == expected


def test_a_process_of_many_has_one_thread():
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        assert joblib.Parallel()(joblib.delayed(thread_count)() for _ in range(2)) == [1, 1]
