import anndata as ad
import mudata as md
import numpy as np

from scwhatif._mudata import without_pulling


def test_columns_of_modalities_stay_where_they_are():
    modality = ad.AnnData(np.ones((3, 2), np.float32))
    modality.obs["depth"] = [1.0, 2.0, 3.0]
    with without_pulling():
        mdata = md.MuData({"rna": modality})
    assert not [column for column in mdata.obs if "depth" in column]
    assert list(mdata["rna"].obs["depth"]) == [1.0, 2.0, 3.0]
