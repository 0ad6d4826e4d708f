import resource
import signal
from contextlib import contextmanager

import pytest
import torch

from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI


@pytest.fixture
def model():
    adata = simulate_factors(60, 20, 3, seed=0)
    BetaLinearSCVI.setup_anndata(adata)
    return BetaLinearSCVI(adata, n_latent=2, n_hidden=64, seed=0)


@contextmanager
def full_disk(n_bytes=2000):
    """No file may grow beyond this; writing fails as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_saves_and_loads(model, tmp_path):
    model.save(str(tmp_path / "deep" / "m"), prefix="my_", save_anndata=True)
    assert sorted(contents(tmp_path / "deep" / "m")) == ["my_adata.h5ad", "my_model.pt"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["m"]
    loaded = BetaLinearSCVI.load(str(tmp_path / "deep" / "m"), prefix="my_")
    for name, value in model.module.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[name], value)


def test_a_model_that_is_there_is_replaced_only_if_asked(model, tmp_path):
    folder = tmp_path / "m"
    model.save(str(folder))
    before = contents(folder)
    with pytest.raises(ValueError, match=r"already exists\. Pass overwrite=True"):
        model.save(str(folder))
    assert contents(folder) == before
    with torch.no_grad():
        next(model.module.parameters()).add_(1)
    model.save(str(folder), overwrite=True)
    assert contents(folder) != before


def test_a_full_disk_leaves_the_old_model(model, tmp_path):
    folder = tmp_path / "m"
    model.save(str(folder))
    before = contents(folder)
    with full_disk(), pytest.raises((OSError, RuntimeError)):
        model.save(str(folder), overwrite=True)
    assert contents(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    BetaLinearSCVI.load(str(folder), model.adata)
