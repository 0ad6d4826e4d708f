"""A binary biology and a continuous batch, added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key

if TYPE_CHECKING:
    from anndata import AnnData

_CONDITIONS = ("control", "case")


def simulate_two_factors(
    n_obs: int = 1000,
    n_vars: int = 50,
    *,
    noise_sd: float = 0.1,
    seed: int | np.random.Generator | None = 42,
) -> AnnData:
    r"""Simulate continuous expression that a binary condition and a continuous batch effect share.

    .. math::

        b_c \sim \mathrm{Bernoulli}(0.5), \quad t_c \sim N(0, 1), \quad
        w_g \sim N(2, 0.5^2), \quad v_g \sim N(0.5, 0.2^2), \quad
        x_{cg} \sim N(b_c w_g + t_c v_g, \; \text{noise\_sd}^2)

    Both factors move every gene upwards, so their weights are far from orthogonal (cosine about .9) while the factors
    themselves are independent: principal components mix the two, independent components tell them apart.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_vars
        Number of genes.
    noise_sd
        Standard deviation of the noise.
    seed
        A number seeds NumPy's legacy generator (:class:`numpy.random.RandomState`), drawn from in the order of the
        formula, :math:`b, t, w, v`, noise: scripts that call ``np.random.seed(42)`` and draw in this order have made
        these very data. A :class:`numpy.random.Generator` is used as it is; ``None`` draws a fresh one.

    Returns
    -------
    AnnData, ``n_obs`` × ``n_vars``, with

    ``X`` : array, float32
        :math:`x`.
    ``layers["true_mean"]`` : array, float32
        :math:`b_c w_g + t_c v_g`, noise-free.
    ``obs["condition"]`` : category
        ``"control"`` (:math:`b_c = 0`) or ``"case"`` (:math:`b_c = 1`).
    ``obs["batch_factor"]`` : float64
        :math:`t`.
    ``obsm["true_factors"]`` : array (``n_obs`` × 2), float64
        :math:`b, t`.
    ``varm["true_loadings"]`` : array (``n_vars`` × 2), float64
        :math:`w, v`.
    ``uns["simulate_two_factors"]["params"]`` : dict
        The arguments.

    Raises
    ------
    ValueError
        A number is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_two_factors()
    >>> adata.shape, int((adata.obs["condition"] == "case").sum())
    ((1000, 50), 497)
    """
    from anndata import AnnData

    for name, value in (("n_obs", n_obs), ("n_vars", n_vars)):
        if value < 1:
            msg = f"{name}={value} must be at least 1."
            raise ValueError(msg)
    if not noise_sd >= 0:
        msg = f"noise_sd={noise_sd} must not be negative."
        raise ValueError(msg)
    rng: np.random.RandomState | np.random.Generator
    if isinstance(seed, int | np.integer):
        if not 0 <= seed < 2**32:
            msg = f"seed={seed} must be in [0, 2**32)."
            raise ValueError(msg)
        # data that are out in the world can only be made again by the generator that made them
        rng = np.random.RandomState(seed)
    else:
        rng = np.random.default_rng(seed)
    condition = rng.binomial(1, 0.5, n_obs)
    batch = rng.normal(0.0, 1.0, n_obs)
    loadings = np.column_stack([rng.normal(2.0, 0.5, n_vars), rng.normal(0.5, 0.2, n_vars)])
    factors = np.column_stack([condition, batch]).astype(np.float64)
    mean = factors @ loadings.T
    x = mean + rng.normal(0.0, noise_sd, mean.shape)

    obs = pd.DataFrame(
        {
            Key.obs.CONDITION: pd.Categorical.from_codes(condition, categories=list(_CONDITIONS)),
            Key.obs.BATCH_FACTOR: batch,
        },
        index=[f"cell_{i}" for i in range(n_obs)],
    )
    params: dict[str, Any] = {"n_obs": n_obs, "n_vars": n_vars, "noise_sd": noise_sd}
    # a generator has no number to write down
    params["seed"] = int(seed) if isinstance(seed, int | np.integer) else "not recorded"
    return AnnData(
        x.astype(np.float32),
        obs=obs,
        var=pd.DataFrame(index=[f"gene_{i}" for i in range(n_vars)]),
        obsm={Key.obsm.FACTORS: factors},
        varm={Key.varm.TRUE_LOADINGS: loadings},
        layers={Key.layers.TRUE_MEAN: mean.astype(np.float32)},
        uns={Key.uns.SIMULATE_TWO_FACTORS: {Key.uns.PARAMS: params}},
    )
