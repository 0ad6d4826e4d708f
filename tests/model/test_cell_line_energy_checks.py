import numpy as np
import pytest

from scwhatif.datasets import simulate_pairs
from scwhatif.model import CellLineEnergyModel

SETUP = {"label_key": "label", "cell_line_key": "cell_line"}
SILENT = {"enable_progress_bar": False, "accelerator": "cpu"}


@pytest.fixture
def adata():
    return simulate_pairs(3, 3, 8)


def setup(adata, **kwargs):
    CellLineEnergyModel.setup_anndata(adata, **{**SETUP, **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"label_key": "labels"}, KeyError, "Did you mean 'label'"),
        ({"cell_line_key": "line"}, KeyError, "cell_line_key='line'"),
        ({"chrom_key": "chr"}, KeyError, "chrom_key='chr'"),
        ({"layer": "raw"}, KeyError, "layer='raw'"),
        ({"environment_key": "X_env"}, KeyError, "environment_key='X_env'"),
        ({"sequence_key": "codes"}, KeyError, "sequence_key='codes'"),
    ],
)
def test_keys_that_are_not_there(adata, kwargs, error, match):
    with pytest.raises(error, match=match):
        setup(adata, **kwargs)
    assert "_scvi_uuid" not in adata.uns


@pytest.mark.parametrize("values", [["yes", "no"], [1, 2], [0.5, 1.0]])
def test_labels_other_than_0_and_1(adata, values):
    adata.obs["label"] = [values[i % 2] for i in range(adata.n_obs)]
    with pytest.raises(ValueError, match="must hold 0, 1, or NaN"):
        setup(adata)


def test_missing_line_or_chromosome(adata):
    adata.obs["chrom"] = adata.obs["chrom"].cat.rename_categories(["chr1", "chr2", "3"])
    with pytest.raises(ValueError, match="with and without 'chr'"):
        setup(adata, chrom_key="chrom")
    adata.obs.loc[adata.obs_names[0], "chrom"] = np.nan
    with pytest.raises(ValueError, match=r"chrom_key.* is missing for 1 pair"):
        setup(adata, chrom_key="chrom")
    adata.obs.loc[adata.obs_names[:2], "cell_line"] = np.nan
    with pytest.raises(ValueError, match=r"cell_line_key.* is missing for 2 pair"):
        setup(adata)


def test_infinite_and_never_measured_features(adata):
    adata.X[:, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 feature.* that no pair has measured"):
        setup(adata)
    adata.X[3, 0] = np.inf
    with pytest.raises(ValueError, match="infinite"):
        setup(adata)
    adata.X = adata.X.astype(str)
    with pytest.raises(TypeError, match="dtype"):
        setup(adata)


def test_sequences_with_other_codes_and_embeddings_with_gaps(adata):
    adata.obsm["codes"] = np.full((adata.n_obs, 10), 7)
    with pytest.raises(ValueError, match="codes from 7 to 7"):
        setup(adata, sequence_key="codes")
    adata.obsm["codes"] = np.full((adata.n_obs, 10), 0.5)
    with pytest.raises(ValueError, match="integer codes"):
        setup(adata, sequence_key="codes")
    adata.obsm["embedding"] = np.full((adata.n_obs, 2), np.nan)
    with pytest.raises(ValueError, match="NaN"):
        setup(adata, embedding_key="embedding")


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"interaction": "bilinear"}, "interaction='bilinear'"),
        ({"backbone": "lstm"}, "backbone='lstm'"),
        ({"backbone": "cnn"}, "sequence_key"),
        ({"backbone": "precomputed"}, "embedding_key"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"input_norm": "minmax"}, "input_norm='minmax'"),
        ({"corr_weight": -1.0}, "corr_weight=-1.0"),
        ({"temperature_range": (2.0, 1.0)}, "temperature_range"),
    ],
)
def test_settings(adata, kwargs, match):
    setup(adata)
    with pytest.raises(ValueError, match=match):
        CellLineEnergyModel(adata, **kwargs)


def train(adata, parts=None, train_kwargs=None, **kwargs):
    setup(adata)
    model = CellLineEnergyModel(adata, n_hidden=8, trees_weight=0.0, **kwargs)
    model.train(1, external_indexing=parts, **SILENT, **(train_kwargs or {}))


def test_no_positives_and_no_labels(adata):
    adata.obs["label"] = 0
    with pytest.raises(ValueError, match="hold no positive label"):
        train(adata)
    adata.obs["label"] = np.nan
    with pytest.raises(ValueError, match="No training pair has a label"):
        train(adata)


def test_a_line_with_fewer_pairs_than_a_support_set(adata):
    small = np.concatenate([np.arange(240), np.arange(240, 260)])
    with pytest.raises(ValueError, match=r"'line_2': 20.*n_support=32.*Lower n_support"):
        train(adata[small].copy(), parts=[np.arange(260)])


def test_one_line_only(adata):
    one = adata[adata.obs["cell_line"] == "line_0"].copy()
    with pytest.raises(ValueError, match="compare cell lines, and the training pairs are all of 'line_0'"):
        train(one, adversary_weight=0.1)
    with pytest.warns(UserWarning, match="not identified by fewer than 3 lines"):
        train(one)


def test_losses_between_lines_need_episodes_of_several(adata):
    with pytest.raises(ValueError, match="lines_per_episode to at least 2"):
        train(adata, contrast_weight=0.1, train_kwargs={"lines_per_episode": 1})


def test_splits_that_are_none(adata):
    with pytest.raises(ValueError, match="each once"):
        train(adata, parts=[np.arange(10)])
    with pytest.raises(ValueError, match=r"train_size=1\.5"):
        train(adata, train_kwargs={"train_size": 1.5})
    adata.obs["chrom"] = "chr1"
    CellLineEnergyModel.setup_anndata(adata, **SETUP, chrom_key="chrom")
    with pytest.raises(ValueError, match="share loci"):
        CellLineEnergyModel(adata).train(1, **SILENT)
