"""Tests of sums over bins, by knockout and by derivative, against cells one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy import sparse

import scwhatif as wi
from scwhatif.engine import LinearReadout
from scwhatif.model import BetaLinearSCVI
from scwhatif.tl._cell_bins import CellBins
from scwhatif.tl._cell_groups import cell_groups
from scwhatif.tl._encoder_source import EncoderSource, encoder_source
from scwhatif.tl._gene_readout import gene_columns, gradient_readout, knockout, screen_readout

if TYPE_CHECKING:
    from anndata import AnnData

READOUT = LinearReadout(np.array([1.0, -1.0, 0.5]))


@pytest.fixture(scope="module")
def fitted() -> tuple[AnnData, BetaLinearSCVI, EncoderSource]:
    adata = wi.datasets.simulate_factors(60, 30, 3, n_cell_types=3, library_size=100, seed=0)
    BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = BetaLinearSCVI(adata, n_latent=3, n_hidden=8, seed=0)
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    return adata, model, encoder_source(adata, model)


def bins_of(adata: AnnData) -> CellBins:
    return CellBins.of(cell_groups(adata, "cell_type", None), np.arange(adata.n_obs) % 4 > 0)


def read(model: BetaLinearSCVI, adata: AnnData) -> np.ndarray:
    return READOUT(torch.from_numpy(model.get_latent_representation(adata)).double()).numpy()


def test_knockouts(fitted: tuple[AnnData, BetaLinearSCVI, EncoderSource]):
    adata, model, source = fitted
    bins = bins_of(adata)
    found = screen_readout(source, READOUT, bins, [knockout(3), knockout(4) + knockout(5)])
    for i, genes in enumerate([[3], [4, 5]]):
        edited = adata.copy()
        x = edited.X.toarray()
        x[:, genes] = 0
        edited.X = sparse.csr_matrix(x)
        change = read(model, edited) - read(model, adata)
        for part in range(bins.n_bins):
            member = bins.codes == part
            assert found.change[i, part] == pytest.approx(change[member].sum(), abs=1e-4)
            assert found.size[i, part] == pytest.approx(np.abs(change[member]).sum(), abs=1e-4)
    assert found.counts.n_nonzero[3, : bins.n_bins].sum() == (adata.X[bins.taking_part, 3] != 0).sum()


def test_derivatives_do_not_depend_on_blocks(
    fitted: tuple[AnnData, BetaLinearSCVI, EncoderSource], monkeypatch: pytest.MonkeyPatch
):
    adata, model, source = fitted
    bins = bins_of(adata)
    for baselines in (None, np.zeros((1, 30), np.float32), adata.X[:3].toarray()):
        wanted = gradient_readout(source, model.module, READOUT, bins, baselines=baselines, n_steps=12)
        with monkeypatch.context() as patch:
            patch.setattr("scwhatif.tl._gene_readout._BLOCK_ENTRIES", 7 * 30)
            found = gradient_readout(source, model.module, READOUT, bins, baselines=baselines, n_steps=12)
        np.testing.assert_allclose(found.change, wanted.change, atol=1e-5)
        np.testing.assert_allclose(found.size, wanted.size, atol=1e-5)
        assert (found.size >= np.abs(found.change) - 1e-6).all()
        if baselines is None:
            assert np.isnan(found.completeness)
        else:
            assert found.completeness == pytest.approx(wanted.completeness, rel=1e-3)


def test_shares_of_cells_below_the_baseline_count_with_the_opposite_sign(
    fitted: tuple[AnnData, BetaLinearSCVI, EncoderSource],
):
    adata, model, source = fitted
    bins = CellBins.of(cell_groups(adata, None, None))
    every = adata.X.toarray()
    found = gradient_readout(source, model.module, READOUT, bins, baselines=every, n_steps=len(every))
    slope = gradient_readout(source, model.module, READOUT, bins, baselines=None, n_steps=1)
    # the plain sum over the cells that are the baselines would be nothing, whatever the gene
    strong = np.argsort(-np.abs(slope.change[:, 0]))[:10]
    assert (np.sign(found.change[strong, 0]) == np.sign(slope.change[strong, 0])).all()
    assert (np.abs(found.change[strong, 0]) > 0.5 * found.size[strong, 0]).all()


def test_columns(fitted: tuple[AnnData, BetaLinearSCVI, EncoderSource]):
    adata = fitted[0]
    assert gene_columns(adata, ["gene_7", "gene_2", "gene_7"], "candidates").tolist() == [2, 7]
    assert gene_columns(adata, "gene_4", "candidates").tolist() == [4]
    assert len(gene_columns(adata, None, "candidates")) == 30
    with pytest.raises(ValueError, match="candidates is empty"):
        gene_columns(adata, [], "candidates")
    with pytest.raises(KeyError, match="gene_99"):
        gene_columns(adata, ["gene_99"], "candidates")
