import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from scwhatif.datasets import simulate_pairs
from scwhatif.model import CellLineEnergyModel
from scwhatif.model._cell_line_energy_rows import EnergyRows, EpisodeSplitter, PairTable, read_pairs, split_pairs
from scwhatif.module._cell_line_energy import GROUP_KEY, LABEL_KEY, LINE_KEY, SUPPORT_KEY

KEYS = ("layer", "environment_key", "embedding_key", "sequence_key", "chrom_key")
SETUP = {"label_key": "label", "cell_line_key": "cell_line", **dict.fromkeys(KEYS)}


def table(n=400, n_chroms=5, seed=0):
    rng = np.random.default_rng(seed)
    chroms = None if n_chroms is None else np.array([f"chr{i}" for i in rng.integers(0, n_chroms, size=n)])
    return PairTable(lines=np.full(n, "a"), features=np.zeros((n, 1)), environment=np.zeros((n, 1)), chroms=chroms)


def splitter(n=300, n_support=8, n_query=8):
    rng = np.random.default_rng(0)
    adata = simulate_pairs(3, 2, 10)[:n].copy()
    CellLineEnergyModel.setup_anndata(adata, label_key="label", cell_line_key="cell_line")
    manager = CellLineEnergyModel(adata).adata_manager
    label = (rng.uniform(size=n) < 0.3).astype(np.float32)
    label[::7] = np.nan
    rows = EnergyRows({LINE_KEY: torch.arange(n) // 100, LABEL_KEY: torch.from_numpy(label), "x": torch.randn(n, 2)})
    order = rng.permutation(n)
    parts = [order[:200], order[200:280], order[280:]]
    episodes = {"n_support": n_support, "n_query": n_query, "lines_per_episode": 3, "seed": 0}
    found = EpisodeSplitter(manager, rows=rows, episodes=episodes, n_support_validation=10, external_indexing=parts)
    found.setup()
    return found, rows, parts


def test_batches_have_no_extra_axis_and_hold_training_rows_only():
    found, rows, parts = splitter()
    allowed = {tuple(row) for row in rows.tensors["x"][parts[0]].tolist()}
    for batch in found.train_dataloader():
        assert batch["x"].shape == (48, 2)
        assert batch[SUPPORT_KEY].sum() == 24
        assert {tuple(row) for row in batch["x"].tolist()} <= allowed
        assert not batch[LABEL_KEY][~batch[SUPPORT_KEY]].isnan().any()
        for group in range(3):
            assert len(batch[LINE_KEY][batch[GROUP_KEY] == group].unique()) == 1


def test_validation_asks_every_labelled_row_once_with_one_support_per_line():
    found, rows, parts = splitter()
    for loader, part in ((found.val_dataloader(), parts[1]), (found.test_dataloader(), parts[2])):
        asked, supports = [], {}
        for batch in loader:
            assert len(batch[LINE_KEY].unique()) == 1
            asked.append(batch["x"][~batch[SUPPORT_KEY]])
            supports.setdefault(int(batch[LINE_KEY][0]), batch["x"][batch[SUPPORT_KEY]])
        labelled = part[~rows.tensors[LABEL_KEY][part].isnan().numpy()]
        expected = rows.tensors["x"][labelled]
        assert sorted(torch.cat(asked).tolist()) == sorted(expected.tolist())
        again = {int(b[LINE_KEY][0]): b["x"][b[SUPPORT_KEY]] for b in loader}
        assert all(torch.equal(again[line], support) for line, support in supports.items())
        assert all(len(support) <= 10 for support in supports.values())


def test_split_by_chromosome_and_without():
    pairs = table()
    training, validation, test = split_pairs(pairs, 0.7, None, 0)
    assert not set(pairs.chroms[training]) & set(pairs.chroms[validation])
    assert len(training) + len(validation) == 400
    assert not len(test)
    assert len(training) >= 0.6 * 400
    training, validation, _ = split_pairs(table(n_chroms=None), 0.75, None, 0)
    assert (len(training), len(validation)) == (300, 100)
    assert len(split_pairs(pairs, 1.0, None, 0)[1]) == 0


def test_given_split_is_taken_and_checked():
    parts = split_pairs(table(10), 0.5, [np.arange(6), np.arange(6, 10)], 0)
    assert [len(part) for part in parts] == [6, 4, 0]
    with pytest.raises(ValueError, match="each once"):
        split_pairs(table(10), 0.5, [np.arange(6), np.arange(5, 10)], 0)
    with pytest.raises(ValueError, match="'chr0'"):
        split_pairs(table(10, n_chroms=1), 0.5, None, 0)


def test_reading():
    x = np.array([[1.0, np.nan], [0.0, 3.0]], dtype=np.float32)
    adata = AnnData(x, layers={"sparse": sparse.csr_matrix([[0.0, 2.0], [0.0, 0.0]])})
    adata.obs["cell_line"], adata.obs["label"] = ["a", "b"], [True, False]
    adata.obsm["raw"] = np.ones((2, 3))
    found = read_pairs(adata, SETUP, "mlp")
    np.testing.assert_array_equal(found.features, x)
    np.testing.assert_array_equal(found.environment, x)
    np.testing.assert_array_equal(found.label, [1, 0])
    assert found.lines.tolist() == ["a", "b"]
    assert found.chroms is None
    other = read_pairs(adata, {**SETUP, "layer": "sparse", "environment_key": "raw", "label_key": "none"}, "mlp")
    np.testing.assert_array_equal(other.features, [[0, 2], [0, 0]])
    assert other.environment.shape == (2, 3)
    assert np.isnan(other.label).all()
