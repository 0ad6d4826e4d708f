import random
from contextlib import suppress

import numpy as np
import pytest
import scvi
import torch

from scwhatif._compat import minified_type, registered, seeded
from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI


def _draw():
    return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002


def _seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def _fail_while_seeded(seed):
    with seeded(seed):
        _draw()
        raise KeyError


def test_seeded_repeats_inside_and_leaves_no_trace_outside():
    with seeded(3):
        first = _draw()
        assert scvi.settings.seed == 3
    with seeded(3):
        assert _draw() == first
    _seed_all(0)
    expected = _draw()
    _seed_all(0)
    with pytest.raises(KeyError):
        _fail_while_seeded(3)
    assert _draw() == expected
    assert scvi.settings.seed is None


def test_no_seed_changes_nothing():
    torch.manual_seed(0)
    expected = _draw()[2]
    torch.manual_seed(0)
    with seeded(None):
        assert _draw()[2] == expected


def test_data_are_not_minified_until_they_are():
    assert minified_type(simulate_factors(10, 20, 3, seed=0)) is None


@pytest.mark.parametrize("fails", [False, True])
def test_registered_data_leave_no_trace(fails: bool):
    adata = simulate_factors(30, 10, 2, n_cell_types=2, n_batches=1)
    before = len(BetaLinearSCVI._setup_adata_manager_store)
    with suppress(RuntimeError), registered(BetaLinearSCVI, adata, labels_key="cell_type"):
        model = BetaLinearSCVI(adata, n_latent=2)
        assert model.adata_manager is BetaLinearSCVI._get_most_recent_anndata_manager(adata)
        if fails:
            raise RuntimeError
    assert len(BetaLinearSCVI._setup_adata_manager_store) == before
    assert not BetaLinearSCVI._per_instance_manager_store[model.id]
