"""Cells made from known latent factors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif._keys import Key

if TYPE_CHECKING:
    from anndata import AnnData

Likelihood = Literal["nb", "poisson", "normal"]

# Spread of a cell-type programme within its type, next to `separation` between types.
_PROGRAMME_SD = 0.25
_DISPERSION_LOG_SD = 0.3


def simulate_factors(
    n_obs: int = 1000,
    n_vars: int = 500,
    n_factors: int = 8,
    *,
    n_cell_types: int = 4,
    n_batches: int = 2,
    batch_effect: float = 0.3,
    separation: float = 2.0,
    loading_scale: float = 0.5,
    loading_density: float = 0.2,
    baseline_sd: float = 1.0,
    library_size: float = 5000.0,
    library_sd: float = 0.3,
    dispersion: float = 5.0,
    noise_sd: float = 0.5,
    likelihood: Likelihood = "nb",
    seed: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate cells with planted latent factors, loadings, cell types and batch effects.

    For cell :math:`c` of type :math:`t_c` and batch :math:`s_c`, gene :math:`g` and factor :math:`k`:

    .. math::

        z_{ck} &\sim \begin{cases}
            N(\text{separation} \cdot 1[t_c = k],\; 0.25^2) & k < n_\text{cell\_types} - 1 \\
            N(0, 1) & \text{otherwise}
        \end{cases} \\
        \eta_{cg} &= b_g + \sum_k z_{ck} W_{gk} + B_{g s_c} \\
        \rho_{cg} &= \ell_c \, \frac{\exp \eta_{cg}}{\sum_h \exp \eta_{ch}}, \qquad
        \log \ell_c \sim N(\log \text{library\_size}, \text{library\_sd}^2) \\
        x_{cg} &\sim \begin{cases}
            \mathrm{NB}(\text{mean } \rho_{cg}, \text{variance } \rho_{cg} + \rho_{cg}^2 / \theta_g) & \text{nb} \\
            \mathrm{Poisson}(\rho_{cg}) & \text{poisson} \\
            N(\eta_{cg}, \text{noise\_sd}^2) & \text{normal}
        \end{cases}

    The first ``n_cell_types - 1`` factors are discrete programmes, each switched on in one cell type; the last type has
    none on. All others vary continuously within every type. :math:`b`, each column of :math:`W` and each column of
    :math:`B` sum to zero over genes, so :math:`\eta_c` is exactly :math:`\log \rho_c` minus its mean over genes, and
    the planted truth is identifiable. Truth is drawn before library sizes and noise: the same seed gives the same
    factors, loadings and batches whatever the likelihood and library size.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_vars
        Number of genes.
    n_factors
        Number of latent factors, at least ``n_cell_types - 1``.
    n_cell_types
        Number of cell types, of equal expected size.
    n_batches
        Number of batches; equally large (to one cell) and independent of cell type.
    batch_effect
        Standard deviation over genes of :math:`B`, on the log-rate.
    separation
        Value of a programme in its cell type; it is 0 in all others.
    loading_scale
        Standard deviation of the non-zero loadings.
    loading_density
        Share of genes that a factor moves, in (0, 1]. Supports are drawn independently, so loadings are nearly
        orthogonal: cosines are of order ``1 / sqrt(n_vars)``.
    baseline_sd
        Standard deviation over genes of :math:`b`.
    library_size
        Median number of counts per cell. Not used by ``"normal"``.
    library_sd
        Standard deviation of the log library size. Not used by ``"normal"``.
    dispersion
        Median over genes of the inverse dispersion :math:`\theta_g`, which is log-normal with standard deviation 0.3.
        Used by ``"nb"`` only.
    noise_sd
        Standard deviation of the noise. Used by ``"normal"`` only.
    likelihood
        ``"nb"``, ``"poisson"`` or ``"normal"``.
    seed
        Seed or generator; ``None`` draws a fresh one.

    Returns
    -------
    AnnData, ``n_obs`` × ``n_vars``, with

    ``X`` : CSR matrix (counts) or array (``"normal"``), float32
        :math:`x`; counts also in ``layers["counts"]``.
    ``layers["true_rate"]`` : array, float32
        Noise-free mean of ``X``: :math:`\rho`, or :math:`\eta` for ``"normal"``.
    ``obsm["true_factors"]`` : array (``n_obs`` × ``n_factors``), float64
        :math:`z`.
    ``obs["cell_type"]``, ``obs["batch"]`` : category
        :math:`t`, :math:`s`.
    ``obs["library_size"]`` : float64
        :math:`\ell`; counts only.
    ``varm["true_loadings"]`` : array (``n_vars`` × ``n_factors``), float64
        :math:`W`.
    ``varm["true_batch_effect"]`` : array (``n_vars`` × ``n_batches``), float64
        :math:`B`; columns in the order of ``obs["batch"].cat.categories``.
    ``var["baseline"]`` : float64
        :math:`b`.
    ``var["dispersion"]`` : float64
        :math:`\theta`; ``"nb"`` only.
    ``uns["simulate_factors"]["params"]`` : dict
        The arguments.

    Raises
    ------
    ValueError
        A number is out of range, or the likelihood unknown.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4, n_cell_types=3)
    >>> adata.obsm["true_factors"].shape, adata.varm["true_loadings"].shape
    ((100, 4), (50, 4))
    """
    from anndata import AnnData

    params: dict[str, Any] = {
        "n_obs": n_obs,
        "n_vars": n_vars,
        "n_factors": n_factors,
        "n_cell_types": n_cell_types,
        "n_batches": n_batches,
        "batch_effect": batch_effect,
        "separation": separation,
        "loading_scale": loading_scale,
        "loading_density": loading_density,
        "baseline_sd": baseline_sd,
        "library_size": library_size,
        "library_sd": library_sd,
        "dispersion": dispersion,
        "noise_sd": noise_sd,
        "likelihood": likelihood,
    }
    _check(params)
    rng = np.random.default_rng(seed)

    baseline = _centred(rng.normal(0.0, baseline_sd, (n_vars, 1)), np.ones((n_vars, 1)))[:, 0]
    support = _support(rng, n_vars, n_factors, loading_density)
    loadings = _centred(rng.normal(0.0, loading_scale, support.shape) * support, support)
    effects = _centred(rng.normal(0.0, batch_effect, (n_vars, n_batches)), np.ones((n_vars, n_batches)))
    theta = dispersion * np.exp(rng.normal(0.0, _DISPERSION_LOG_SD, n_vars))

    cell_type = rng.integers(n_cell_types, size=n_obs)
    batch = rng.permutation(np.arange(n_obs) % n_batches)
    factors = rng.normal(size=(n_obs, n_factors))
    for k in range(n_cell_types - 1):
        factors[:, k] = separation * (cell_type == k) + _PROGRAMME_SD * factors[:, k]
    eta = baseline + factors @ loadings.T + effects.T[batch]

    obs = pd.DataFrame(
        {
            Key.obs.CELL_TYPE: _labels("type", cell_type, n_cell_types),
            Key.obs.BATCH: _labels("batch", batch, n_batches),
        },
        index=[f"cell_{i}" for i in range(n_obs)],
    )
    var = pd.DataFrame({Key.var.BASELINE: baseline}, index=[f"gene_{i}" for i in range(n_vars)])
    x: np.ndarray | sparse.csr_matrix
    if likelihood == "normal":
        mean = eta
        x = rng.normal(mean, noise_sd).astype(np.float32)
    else:
        library = np.exp(rng.normal(np.log(library_size), library_sd, n_obs))
        share = np.exp(eta - eta.max(axis=1, keepdims=True))
        mean = library[:, None] * share / share.sum(axis=1, keepdims=True)
        rate = rng.gamma(theta, mean / theta) if likelihood == "nb" else mean
        x = sparse.csr_matrix(rng.poisson(rate).astype(np.float32))
        obs[Key.obs.LIBRARY_SIZE] = library
        if likelihood == "nb":
            var[Key.var.DISPERSION] = theta

    layers: dict[str, Any] = {Key.layers.TRUE_RATE: mean.astype(np.float32)}
    if likelihood != "normal":
        layers[Key.layers.COUNTS] = x.copy()
    # a generator has no number to write down
    params["seed"] = int(seed) if isinstance(seed, int | np.integer) else "not recorded"
    return AnnData(
        x,
        obs=obs,
        var=var,
        obsm={Key.obsm.FACTORS: factors},
        varm={Key.varm.TRUE_LOADINGS: loadings, Key.varm.TRUE_BATCH_EFFECT: effects},
        layers=layers,
        uns={Key.uns.SIMULATE_FACTORS: {Key.uns.PARAMS: params}},
    )


def _check(params: dict[str, Any]) -> None:
    if params["likelihood"] not in get_args(Likelihood):
        msg = f"likelihood={params['likelihood']!r} must be one of {get_args(Likelihood)}."
        raise ValueError(msg)
    for name in ("n_obs", "n_vars", "n_factors", "n_cell_types", "n_batches"):
        if params[name] < 1:
            msg = f"{name}={params[name]} must be at least 1."
            raise ValueError(msg)
    if params["n_factors"] < params["n_cell_types"] - 1:
        msg = (
            f"n_cell_types={params['n_cell_types']} needs at least {params['n_cell_types'] - 1} factors, one programme "
            f"per type but the last, not n_factors={params['n_factors']}."
        )
        raise ValueError(msg)
    for name in ("library_size", "dispersion"):
        if not params[name] > 0:
            msg = f"{name}={params[name]} must be positive."
            raise ValueError(msg)
    for name in ("batch_effect", "loading_scale", "baseline_sd", "library_sd", "noise_sd"):
        if not params[name] >= 0:
            msg = f"{name}={params[name]} must not be negative."
            raise ValueError(msg)
    if not 0 < params["loading_density"] <= 1:
        msg = f"loading_density={params['loading_density']} must be in (0, 1]."
        raise ValueError(msg)


def _centred(values: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Columns shifted on their support to sum to zero; values off the support stay zero."""
    return values - support * (values.sum(axis=0) / support.sum(axis=0))


def _support(rng: np.random.Generator, n_vars: int, n_factors: int, density: float) -> np.ndarray:
    """Which genes each factor moves: the same number for each, at least two so that they can sum to zero."""
    n_active = min(n_vars, max(2, round(density * n_vars)))
    support = np.zeros((n_vars, n_factors))
    for k in range(n_factors):
        support[rng.choice(n_vars, n_active, replace=False), k] = 1.0
    return support


def _labels(kind: str, codes: np.ndarray, n: int) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, categories=[f"{kind}_{i}" for i in range(n)])
