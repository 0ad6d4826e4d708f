"""The linear baseline that deep models of unseen perturbations have been measured against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scwhatif.metrics._perturbation_baselines import check_not_trained, parts_of, read_train
from scwhatif.metrics._profiles import check_unique, listed, read_profile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray


def predict_bilinear(
    train: pd.DataFrame,
    control: ArrayLike | pd.Series,
    perturbations: Iterable[str],
    *,
    embedding: pd.DataFrame | None = None,
    n_components: int = 10,
    ridge: float = 0.1,
    separator: str = "+",
) -> pd.DataFrame:
    r"""Predict unseen perturbations by ridge regression between two embeddings :cite:p:`AhlmannEltze2025`.

    The changes :math:`Y` from the control, genes × training perturbations with row means :math:`b`, are fitted by

    .. math::
        Y \approx A K B^\top + b, \qquad
        K = (A^\top A + \lambda I)^{-1} A^\top (Y - b) B (B^\top B + \lambda I)^{-1}

    where :math:`A` are the first principal components of the genes (scores of the training profiles and the control,
    centred per profile) and the row of :math:`B` for a perturbation is the row of :math:`A` for the gene it acts on.
    As in the original, the control is a training perturbation with an embedding of zeros, and training perturbations
    without an embedding count for :math:`A` only. A combination, which the original does not predict, has the sum of
    the embeddings of its parts; it is used for prediction only.

    Parameters
    ----------
    train
        Mean profiles of the training perturbations, perturbations × genes, without the control.
    control
        Mean profile of control cells, one value per gene.
    perturbations
        What to predict, none of which is in ``train``.
    embedding
        Rows of :math:`B` by name of the gene acted on, for instance components of another perturbation data set,
        which predict better. By default the rows of :math:`A`, so that targets must be among the genes.
    n_components
        Number of principal components; fewer where there are fewer profiles.
    ridge
        :math:`\lambda`.
    separator
        Stands between the parts of a combination.

    Returns
    -------
    Perturbations × genes.

    Raises
    ------
    ValueError
        A perturbation is in ``train``, or it or all but one training perturbation have no embedding; names repeat,
        values are not finite, or a setting is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import scwhatif as wi
    >>> genes = ["KLF1", "HBG1", "MAPK1", "TGFBR2"]
    >>> train = pd.DataFrame(np.eye(3, 4), index=genes[:3], columns=genes)
    >>> wi.metrics.predict_bilinear(train, np.zeros(4), ["TGFBR2"], n_components=2).round(2)
            KLF1  HBG1  MAPK1  TGFBR2
    TGFBR2  0.25  0.25   0.25     0.0
    """
    if n_components < 1 or not ridge > 0:
        msg = f"n_components={n_components} must be at least 1 and ridge={ridge} above 0."
        raise ValueError(msg)
    known = read_train(train)
    centre = read_profile(control, "control", like=known)
    wanted = list(perturbations)
    check_not_trained(known.perturbations, wanted, separator)
    of_genes = _gene_components(np.vstack([known.values, centre]), n_components)
    given = pd.DataFrame(of_genes, index=known.genes) if embedding is None else embedding
    check_unique(given.index, "rows of embedding")

    rows = [i for i, name in enumerate(known.perturbations) if name in given.index]
    if len(rows) < 2:
        msg = (
            f"embedding must hold at least two training perturbations, but has {len(rows)} of "
            f"{listed(known.perturbations)}."
        )
        raise ValueError(msg)
    missing = sorted({part for name in wanted for part in parts_of(name, separator)} - set(given.index))
    if missing:
        msg = f"embedding lacks {listed(missing)}; without it, perturbed genes must be among the genes of train."
        raise ValueError(msg)
    trained = given.loc[known.perturbations[rows]].to_numpy(dtype=np.float64)
    # the control: no change, and nothing is acted on
    of_train = np.vstack([trained, np.zeros(trained.shape[1])])
    change = np.vstack([known.values[rows] - centre, np.zeros(len(centre))]).T
    mean = change.mean(axis=1, keepdims=True)
    core = _ridge_inverse(of_genes, ridge) @ (change - mean) @ _ridge_inverse(of_train, ridge).T
    of_wanted = np.array([given.loc[sorted(parts_of(name, separator))].to_numpy().sum(axis=0) for name in wanted])
    predicted = of_genes @ core @ of_wanted.T + mean + centre[:, None]
    return pd.DataFrame(predicted.T, index=wanted, columns=known.genes)


def _gene_components(profiles: NDArray[np.float64], n_components: int) -> NDArray[np.float64]:
    """Principal component scores of genes, which are the observations here and profiles the variables."""
    values = profiles.T - profiles.mean(axis=1)
    u, singular, _ = np.linalg.svd(values, full_matrices=False)
    return (u * singular)[:, :n_components]


def _ridge_inverse(table: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    gram = table.T @ table + ridge * np.eye(table.shape[1])
    return np.asarray(np.linalg.solve(gram, table.T), dtype=np.float64)
