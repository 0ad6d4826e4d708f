"""One fold of a cross-validation, in whatever process it runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from scwhatif import _validation
from scwhatif._compat import registered, seeded
from scwhatif._mudata import without_pulling
from scwhatif.model._fold_store import read_scores, write_fold
from scwhatif.tl._beta_fit import alone
from scwhatif.tl._cv_scores import score_fold
from scwhatif.tl._fit_cache import _plain, data_hash

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from mudata import MuData

    from scwhatif.tl._cv_splits import Split

_HASH_LENGTH = 16


@dataclass(frozen=True)
class FoldData:
    """What folds need of a MuData, which itself cannot be sent to another process.

    Parameters
    ----------
    obs
        Samples, with covariates.
    modalities
        Modalities that take part, each sharing its matrix with the original.
    """

    obs: pd.DataFrame
    modalities: dict[str, AnnData]

    def mudata(self) -> MuData:
        """Build a MuData to write to.

        Returns
        -------
        With the samples in the order of ``obs``.
        """
        from mudata import MuData

        with without_pulling():
            joined = MuData(dict(self.modalities))
            mdata = joined[self.obs.index].copy()
        for column in self.obs:
            mdata.obs[column] = self.obs[column]
        return mdata

    def digest(self) -> str:
        """Fingerprint values and names.

        Returns
        -------
        64 hexadecimal digits of a SHA-256.
        """
        digest = sha256(pd.util.hash_pandas_object(self.obs, index=True).to_numpy().tobytes())
        for name, adata in self.modalities.items():
            digest.update(f"{name} {data_hash(adata)}".encode())
        return digest.hexdigest()


def read_data(mdata: MuData, setup: dict[str, Any], names: Sequence[str]) -> FoldData:
    """Take from a MuData what ``setup_mudata`` will look at.

    Parameters
    ----------
    mdata
        The samples.
    setup
        All arguments of ``setup_mudata``.
    names
        Modalities named there.

    Returns
    -------
    The data.

    Raises
    ------
    KeyError
        A modality or covariate does not exist.
    ValueError
        Nothing was measured in a sample, or samples are not unique.
    """
    unknown = [name for name in names if name not in mdata.mod]
    if unknown:
        msg = f"setup_kwargs names {unknown}, which are not modalities of mdata: {list(mdata.mod)}."
        raise KeyError(msg)
    covariates = list(setup["categorical_covariate_keys"] or ())
    absent = [key for key in covariates if key not in mdata.obs]
    if absent:
        msg = f"categorical_covariate_keys names {absent}, which are not in mdata.obs: {list(mdata.obs.columns)}."
        raise KeyError(msg)
    for what, index in [("mdata", mdata.obs_names), *((f"mdata[{n!r}]", mdata[n].obs_names) for n in names)]:
        if not index.is_unique:
            msg = f"{what} has duplicated obs_names: {_validation._listed(index[index.duplicated()].unique())}."
            raise ValueError(msg)
    modalities = {}
    for name in names:
        adata = mdata[name]
        layer = (setup["layers"] or {}).get(name)
        _validation.check_layer(adata, layer)
        gene = [column for column in adata.var if column == setup["cis"]]
        modalities[name] = AnnData(
            X=adata.X if layer is None else None,
            obs=pd.DataFrame(index=adata.obs_names),
            var=adata.var[gene].copy(),
            layers={} if layer is None else {layer: adata.layers[layer]},
        )
    seen = pd.Index(np.unique(np.concatenate([adata.obs_names.to_numpy(dtype=str) for adata in modalities.values()])))
    nothing = mdata.obs_names[~mdata.obs_names.isin(seen)]
    if len(nothing):
        msg = f"Nothing was measured in {len(nothing)} sample(s): {_validation._listed(nothing)}. Leave them out."
        raise ValueError(msg)
    return FoldData(mdata.obs[covariates].copy(), modalities)


@dataclass(frozen=True)
class FoldFit:
    """Settings of one fold.

    Parameters
    ----------
    model_class
        Class of the model.
    setup, model, train
        Arguments of ``setup_mudata``, of the model and of ``train``.
    targets, baselines
        What is scored.
    split
        Who is held out.
    seed
        Of weights and training.
    """

    model_class: Any
    setup: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    targets: tuple[str, ...]
    baselines: tuple[str, ...]
    split: Split
    seed: int

    def name(self, recorded: dict[str, Any]) -> str:
        """Name the fold after everything that shapes its result.

        Parameters
        ----------
        recorded
            What the folds have in common, as :func:`scwhatif._provenance.params` returns it, with the fingerprint of
            the data.

        Returns
        -------
        The name; repeat and fold are in it for the reader's sake.
        """
        of_class = f"{self.model_class.__module__}.{self.model_class.__qualname__}"
        positions = [self.split.train, self.split.validation, self.split.test]
        text = json.dumps(
            [recorded, of_class, self.seed, self.targets, self.baselines, positions], sort_keys=True, default=_plain
        )
        fingerprint = sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
        return f"repeat_{self.split.repeat}_fold_{self.split.fold}_{fingerprint}"


def run_fold(
    data: FoldData, fit: FoldFit, folder: str | os.PathLike[str] | None = None, name: str = ""
) -> list[dict[str, Any]]:
    """Fit and score a fold, or read it where it was done before.

    Generators and registries of the process are left as they were.

    Parameters
    ----------
    data
        Not written to.
    fit
        Settings.
    folder
        Where to keep the model and its scores; ``None`` keeps nothing.
    name
        From :meth:`FoldFit.name`.

    Returns
    -------
    Rows of the table.
    """
    if folder is not None and (done := read_scores(folder, name)) is not None:
        return done
    with alone(), _one_blas_thread(), seeded(fit.seed):
        mdata = data.mudata()
        with registered(fit.model_class, mdata, **fit.setup):
            model = fit.model_class(mdata, **fit.model, seed=fit.seed)
            model.train(
                **{"enable_progress_bar": False} | fit.train,
                external_indexing=[fit.split.train, fit.split.validation, fit.split.test],
                seed=fit.seed,
            )
            rows = score_fold(
                model,
                fit.split,
                targets=fit.targets,
                baselines=fit.baselines,
                method=fit.model_class.__name__,
            )
            if folder is not None:
                write_fold(folder, name, model, rows)
    return rows


def _one_blas_thread() -> Any:
    """One thread for the regressions too: sums must not depend on how many there are."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)
