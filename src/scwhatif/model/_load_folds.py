"""The models of a cross-validation, for tools that ask each about samples it has not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scwhatif import _validation
from scwhatif._quiet import quiet
from scwhatif.model._fold_store import model_path, read_manifest
from scwhatif.model._multi_omic_lpm import MultiOmicLPM

if TYPE_CHECKING:
    import os

    from mudata import MuData


def load_folds(
    directory: str | os.PathLike[str], mdata: MuData, *, model_class: Any = None, accelerator: str = "auto"
) -> list[Any]:
    """Load the models that :func:`scwhatif.tl.cross_validate` has saved.

    Tools for :class:`MultiOmicLPM` take this list in place of a model, and then ask every model about its test samples
    only.

    Parameters
    ----------
    directory
        Its ``directory``.
    mdata
        The samples it was run on, in any order; further ones may be among them. scvi-tools' bookkeeping is written
        into it.
    model_class
        Its ``model_class``; ``None`` is :class:`MultiOmicLPM`.
    accelerator
        As in scvi-tools' ``load``.

    Returns
    -------
    One trained model per fold and repeat, in their order. ``test_indices`` of each are positions in
    ``mdata.obs_names``.

    Raises
    ------
    FileNotFoundError
        The folder holds no cross-validation, or not all of its folds.
    KeyError
        Samples are not in ``mdata``.
    TypeError
        The models are of another class.

    Examples
    --------
    >>> import tempfile
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(60, n_rna=8, n_protein=6, n_ptm=(5,), n_metabolites=4, fusion_layer=0)
    >>> folder = tempfile.mkdtemp()
    >>> wi.tl.cross_validate(
    ...     mdata,
    ...     cv=2,
    ...     setup_kwargs={"rna": "rna", "protein": "protein", "ptm": ["ptm_0"], "metabolome": "metabolome"},
    ...     model_kwargs={"n_latent": 2, "n_hidden": 4},
    ...     train_kwargs={"max_epochs": 1},
    ...     directory=folder,
    ...     progress=False,
    ... )
    >>> models = wi.model.load_folds(folder, mdata)
    >>> [len(model.test_indices) for model in models]
    [30, 30]
    """
    manifest = read_manifest(directory)
    wanted: Any = MultiOmicLPM if model_class is None else model_class
    if manifest["model_class"] != wanted.__name__:
        msg = f"{directory} holds models of class {manifest['model_class']}, not {wanted.__name__}; pass model_class=."
        raise TypeError(msg)
    names = np.array(manifest["obs_names"], dtype=object)
    rows = mdata.obs_names.get_indexer(names)
    if (rows < 0).any():
        lost = names[rows < 0]
        msg = f"mdata lacks {len(lost)} sample(s) of the cross-validation: {_validation._listed(lost)}."
        raise KeyError(msg)
    absent = [each["name"] for each in manifest["folds"] if not model_path(directory, each["name"]).exists()]
    if absent:
        msg = (
            f"{directory} lacks {len(absent)} of {len(manifest['folds'])} fold(s): {_validation._listed(absent)}. Run "
            "scwhatif.tl.cross_validate again with the same arguments; the folds that are there are kept."
        )
        raise FileNotFoundError(msg)
    models = []
    for each in manifest["folds"]:
        # a line about a file that need not be downloaded, for every fold
        with quiet("scvi"):
            model = wanted.load(str(model_path(directory, each["name"])), mdata, accelerator=accelerator)
        # the order of the samples may be another one than that of the cross-validation
        for part in ("train", "validation", "test"):
            setattr(model, f"{part}_indices", rows[np.asarray(each[part], dtype=np.int64)])
        models.append(model)
    return models
