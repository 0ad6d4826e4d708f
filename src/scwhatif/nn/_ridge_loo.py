"""Ridge regression of many features at once, with the predictions that leave each row out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# of the total variance of the regressors; the wide range costs little
_PENALTIES = np.geomspace(1e-5, 10.0, 16)
_CIS_PENALTIES = np.geomspace(1e-3, 10.0, 9)
_MIN_SLACK = 1e-8
_FILL_STEPS = 4
_CHUNK_ENTRIES = 2**23


@dataclass
class RidgeFit:
    """A fitted ridge regression :math:`y = x V B + c`.

    Attributes
    ----------
    basis
        :math:`V`, the principal axes of the regressors, ``(n_regressors, rank)``.
    coefficients
        :math:`B`, ``(rank, n_features)``.
    intercept
        :math:`c`, ``(n_features,)``.
    left_out
        Prediction of every row from the others, ``(n_rows, n_features)``.
    """

    basis: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray
    left_out: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict new rows.

        Parameters
        ----------
        x
            Regressors, ``(n_rows, n_regressors)``.

        Returns
        -------
        ``(n_rows, n_features)``.
        """
        return x @ self.basis @ self.coefficients + self.intercept


def ridge_loo(x: np.ndarray, y: np.ndarray, observed: np.ndarray, *, max_rank: int = 512) -> RidgeFit:
    r"""Ridge regression with a penalty for each feature, chosen by exact leave-one-out error.

    With :math:`x = U D V^\top` (centred), the prediction of row :math:`i` from all others is
    :math:`y_i - (y_i - \hat y_i) / (1 - h_i)`, where
    :math:`h_i = 1/n + \sum_k U_{ik}^2 d_k^2 / (d_k^2 + \lambda)`, so no model is fitted twice. Where entries of a
    feature are missing, they are replaced by their prediction until the fit no longer changes much, which leads to the
    ridge solution on the observed entries, and the leverage :math:`h_i` is that among the observed rows, to first
    order in what the missing ones take away.

    Parameters
    ----------
    x
        Regressors, ``(n_rows, n_regressors)``, finite.
    y
        Features, ``(n_rows, n_features)``; what stands where they were not observed does not matter.
    observed
        Whether an entry of ``y`` was observed, bool.
    max_rank
        Largest number of principal axes of ``x`` that are kept.

    Returns
    -------
    The fit.
    """
    x_mean = x.mean(axis=0)
    u, d, v = _axes(x - x_mean, max_rank)
    n_observed = np.maximum(observed.sum(axis=0), 1)
    y_mean = np.where(observed, y, 0.0).sum(axis=0) / n_observed
    centred = np.where(observed, y - y_mean, 0.0)
    shares = d**2 / (d**2 + np.sum(d**2) * _PENALTIES[:, None] + 1e-12)
    projected = u.T @ centred
    best, chosen = np.full(y.shape[1], np.inf), np.zeros(y.shape[1], dtype=np.int64)
    slack = np.ones(y.shape)
    for penalty, share in enumerate(shares):
        fitted = u @ (share[:, None] * projected)
        if not observed.all():
            # as it would be predicted with its own zero left out
            filled = np.where(observed, centred, fitted / _slack(u, share)[:, None])
            fitted = u @ (share[:, None] * (u.T @ filled))
        candidate = _slack_of_observed(u, share, observed)
        error = np.square((centred - fitted) * observed / candidate).sum(axis=0)
        better = error < best
        best[better], chosen[better] = error[better], penalty
        slack[:, better] = np.broadcast_to(candidate, y.shape)[:, better]

    share = shares[chosen].T
    if not observed.all():
        for _ in range(_FILL_STEPS):
            projected = u.T @ np.where(observed, centred, u @ (share * projected))
    fitted = u @ (share * projected)
    # an entry that took no part in the fit is left out already
    left_out = np.where(observed, centred - (centred - fitted) / slack, fitted) + y_mean
    coefficients = share * projected / np.maximum(d, 1e-12)[:, None]
    return RidgeFit(v, coefficients, y_mean - (x_mean @ v) @ coefficients, left_out)


@dataclass
class CisFit:
    """A ridge regression of every feature on its own few regressors.

    Attributes
    ----------
    links
        Positions of the regressors of each feature, ``(n_features, n)``, −1 for none.
    weights
        ``(n_features, n)``; 0 where there is no link.
    intercept
        ``(n_features,)``; 0 for a feature without links.
    left_out
        Prediction of every row from the others, ``(n_rows, n_features)``.
    """

    links: np.ndarray
    weights: np.ndarray
    intercept: np.ndarray
    left_out: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict new rows.

        Parameters
        ----------
        x
            Regressors, ``(n_rows, n_regressors)``.

        Returns
        -------
        ``(n_rows, n_features)``.
        """
        result = np.tile(self.intercept, (len(x), 1))
        for links, weights in zip(self.links.T, self.weights.T, strict=True):
            result += x[:, links] * weights
        return result


def cis_ridge_loo(x: np.ndarray, y: np.ndarray, observed: np.ndarray, links: np.ndarray) -> CisFit:
    """Ridge regression of every feature on the regressors it is linked to, on the rows where it was observed.

    Parameters
    ----------
    x
        Regressors, ``(n_rows, n_regressors)``, finite.
    y
        Features, ``(n_rows, n_features)``; what stands where they were not observed does not matter.
    observed
        Whether an entry of ``y`` was observed, bool.
    links
        Positions of the regressors of each feature, ``(n_features, n)``, −1 for none.

    Returns
    -------
    The fit, with the penalty of each feature chosen by exact leave-one-out error.
    """
    n_rows, n_features = y.shape
    weights = np.zeros(links.shape)
    intercept = np.zeros(n_features)
    left_out = np.zeros((n_rows, n_features))
    linked = np.flatnonzero((links >= 0).any(axis=1))
    step = max(1, _CHUNK_ENTRIES // (n_rows * links.shape[1]))
    for start in range(0, len(linked), step):
        part = linked[start : start + step]
        weights[part], intercept[part], left_out[:, part] = _cis_chunk(
            x, np.where(observed[:, part], y[:, part], 0.0), observed[:, part].astype(float), links[part]
        )
    return CisFit(links, weights, intercept, left_out)


def _cis_chunk(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray, links: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    there = links >= 0
    n = np.maximum(weight.sum(axis=0), 1.0)
    design = x[:, links] * there  # rows × features × links
    x_mean = np.einsum("ij,ijk->jk", weight, design) / n[:, None]
    y_mean = (weight * y).sum(axis=0) / n
    design = (design - x_mean) * there
    centred = weight * (y - y_mean)
    weighted = design * weight[:, :, None]
    gram = np.einsum("ijk,ijl->jkl", weighted, design)
    moment = np.einsum("ijk,ij->jk", design, centred)
    scale = np.maximum(np.einsum("jkk->j", gram), 1e-12)
    best = np.full(y.shape[1], np.inf)
    beta, left_out = np.zeros(links.shape), np.zeros(y.shape)
    for penalty in _CIS_PENALTIES:
        inverse = np.linalg.inv(gram + (penalty * scale)[:, None, None] * np.eye(links.shape[1]))
        candidate = np.einsum("jkl,jl->jk", inverse, moment)
        fitted = np.einsum("ijk,jk->ij", design, candidate)
        leverage = np.einsum("ijk,jkl,ijl->ij", design, inverse, design) + 1.0 / n
        out = np.where(weight > 0, centred - (centred - fitted) / np.maximum(1.0 - leverage, _MIN_SLACK), fitted)
        error = (weight * np.square(centred - out)).sum(axis=0)
        better = error < best
        best, beta[better], left_out[:, better] = np.minimum(error, best), candidate[better], out[:, better]
    return beta, y_mean - (x_mean * beta).sum(axis=1), left_out + y_mean


def _axes(x: np.ndarray, max_rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left vectors, singular values and right vectors, through the smaller of the two Gram matrices."""
    n_rows, n_cols = x.shape
    values, vectors = np.linalg.eigh(x @ x.T if n_rows < n_cols else x.T @ x)
    values, vectors = values[::-1][:max_rank], vectors[:, ::-1][:, :max_rank]
    keep = values > 1e-10 * max(float(values[0]), 1e-300)
    d, vectors = np.sqrt(values[keep]), vectors[:, keep]
    if n_rows < n_cols:
        return vectors, d, x.T @ vectors / d
    return x @ vectors / d, d, vectors


def _slack(u: np.ndarray, share: np.ndarray) -> np.ndarray:
    """One minus the leverage of every row."""
    return np.maximum(1.0 - 1.0 / len(u) - np.square(u) @ share, _MIN_SLACK)


def _slack_of_observed(u: np.ndarray, share: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """One minus the leverage of every row among those observed, by feature.

    With the smoother :math:`S` of all rows this is the Schur complement of the missing ones in :math:`I - S`. Of the
    block that would have to be inverted the diagonal is taken, and what is subtracted is made to leave more than 0.
    """
    slack = _slack(u, share)[:, None]
    if observed.all():
        return slack
    smoother = (u * share) @ u.T + 1.0 / len(u)
    lost = np.square(smoother) @ (~observed / slack)
    return np.maximum(slack / (1.0 + lost / slack), _MIN_SLACK)
