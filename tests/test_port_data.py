"""The data of `examples/port`: the same on every machine, and as uneven as the example says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import sklearn  # noqa: F401  # the digits are scikit-learn's: without it these tests fail, and do not pass by

STEPS = 50


@pytest.fixture(scope="module")
def port() -> ModuleType:
    """The module by its path: the folder of examples is no package."""
    path = Path(__file__).parents[1] / "examples" / "port" / "data.py"
    spec = importlib.util.spec_from_file_location("port_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


def test_shapes_dtypes_and_values(port):
    data = port.make_data(STEPS)
    images = port.BATCH * port.BATCHES
    assert data.images.shape == (images, 32, 32, 1)
    assert data.images.dtype == np.float32
    assert data.labels.shape == (images, 32, 32)
    assert data.labels.dtype == np.uint8
    assert data.order.shape == (STEPS, port.BATCH)
    assert set(np.unique(data.labels)) == {*range(10), port.UNLABELLED}
    assert set(np.unique(data.images * 16)) == set(range(17))


def test_same_seed_same_arrays(port):
    one, again, other = port.make_data(STEPS), port.make_data(STEPS), port.make_data(STEPS, seed=1)
    for name in ("images", "labels", "order"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))


def test_the_images_do_not_depend_on_the_number_of_steps(port):
    assert np.array_equal(port.make_data(3).labels, port.make_data(STEPS).labels)


def test_file_holds_the_same_arrays(port, tmp_path):
    data = port.make_data(STEPS)
    data.save(tmp_path / "data.npz")
    loaded = port.Data.load(tmp_path / "data.npz")
    for name in ("images", "labels", "order"):
        assert np.array_equal(getattr(data, name), getattr(loaded, name))


def test_only_ink_is_labelled(port):
    data = port.make_data(STEPS)
    assert (data.images[..., 0][data.labels != port.UNLABELLED] > 0).all()


def test_masks_are_uneven_and_never_empty(port):
    share = port.make_data(STEPS).labelled_share()
    assert share.min() > 0
    assert share.max() > 10 * share.min()


def test_an_epoch_shows_each_image_once(port):
    order = port.make_data(2 * port.BATCHES).order
    for epoch in (order[: port.BATCHES], order[port.BATCHES :]):
        assert np.array_equal(np.sort(epoch.ravel()), np.arange(port.BATCH * port.BATCHES))
