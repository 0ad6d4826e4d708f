"""Infrared spectra of a hydrated mineral."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key

if TYPE_CHECKING:
    from anndata import AnnData

# All in cm⁻¹. The bands are those of gypsum in round numbers: stretching and bending of its water, then its sulfate.
_RANGE = (400.0, 4000.0)
_WATER = {3405.0: (1.0, 35.0), 3495.0: (0.8, 35.0), 1620.0: (0.45, 25.0)}  # centre: (height, standard deviation)
_LATTICE = {1120.0: 1.0, 670.0: 0.4, 600.0: 0.35}  # centre: height at the reference width
_WIDEST, _NARROWEST, _REFERENCE = 120.0, 30.0, 60.0
_BACKGROUND = 0.3
# Noise differs between spectra by up to this factor either way.
_NOISE_SPREAD = 2.0


def simulate_spectra(
    n_obs: int = 500,
    n_wavenumbers: int = 400,
    *,
    noise: float = 0.02,
    seed: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate absorbance spectra with planted hydration, crystallinity and background.

    At wavenumber :math:`\nu`, for spectrum :math:`c` with three independent factors, each uniform on (0, 1),

    .. math::

        \mu_c(\nu) &= \text{hydration}_c \, w(\nu) + \text{baseline}_c \, u(\nu)
            + \sum_j h_j \frac{60}{\Gamma_c} \frac{(\Gamma_c / 2)^2}{(\nu - \nu_j)^2 + (\Gamma_c / 2)^2} \\
        \Gamma_c &= 120 \cdot (30 / 120)^{\text{crystallinity}_c} \\
        x_c(\nu) &\sim N(\mu_c(\nu), s_c^2), \qquad \log s_c \sim U(\log \tfrac{\text{noise}}{2}, \log 2\,\text{noise})

    :math:`w` are bands of water at 3405 and 3495 (stretching) and 1620 cm⁻¹ (bending); :math:`u` is a background that
    falls linearly from 0.3 to 0. Hydration and background are linear effects. Crystallinity is not: it sets the full
    width at half maximum :math:`\Gamma` of the lattice bands at 1120, 670 and 600 cm⁻¹, from 120 down to 30 cm⁻¹ at
    constant area, so a linear model needs more than one dimension for it.

    Parameters
    ----------
    n_obs
        Number of spectra.
    n_wavenumbers
        Number of wavenumbers, evenly spaced from 400 to 4000 cm⁻¹; at least two.
    noise
        Median over spectra of the standard deviation of the noise, in absorbance.
    seed
        Seed or generator; ``None`` draws a fresh one. Factors are drawn before the noise, and do not depend on it.

    Returns
    -------
    AnnData, ``n_obs`` × ``n_wavenumbers``, with

    ``X`` : array, float32
        :math:`x`, in absorbance.
    ``layers["true_mean"]`` : array, float32
        :math:`\mu`, noise-free.
    ``obs["hydration"]``, ``obs["crystallinity"]``, ``obs["baseline"]`` : float64
        The factors.
    ``obs["noise_sd"]`` : float64
        :math:`s`.
    ``obsm["true_factors"]`` : array (``n_obs`` × 3), float64
        The factors, in this order.
    ``var["wavenumber"]`` : float64
        :math:`\nu`, in cm⁻¹.
    ``var["water"]``, ``var["baseline"]`` : float64
        :math:`w` and :math:`u`: what hydration and background add at 1. Subtracting ``hydration * water`` from
        ``true_mean`` gives the spectrum of the dry mineral.
    ``uns["simulate_spectra"]["params"]`` : dict
        The arguments.

    Raises
    ------
    ValueError
        A number is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_spectra(20, 361)
    >>> adata.shape, float(adata.var["wavenumber"].iloc[-1])
    ((20, 361), 4000.0)
    >>> adata.var["water"].idxmax()
    '3410.00'
    """
    from anndata import AnnData

    for name, value, least in (("n_obs", n_obs, 1), ("n_wavenumbers", n_wavenumbers, 2)):
        if value < least:
            msg = f"{name}={value} must be at least {least}."
            raise ValueError(msg)
    if not 0 <= noise < np.inf:
        msg = f"noise={noise} must not be negative or infinite."
        raise ValueError(msg)
    rng = np.random.default_rng(seed)
    factors = rng.uniform(size=(n_obs, 3))
    hydration, crystallinity, baseline = factors.T

    wavenumber = np.linspace(*_RANGE, n_wavenumbers)
    water = np.zeros(n_wavenumbers)
    for centre, (height, sd) in _WATER.items():
        water += height * np.exp(-0.5 * np.square((wavenumber - centre) / sd))
    background = np.linspace(_BACKGROUND, 0.0, n_wavenumbers)
    mean = np.outer(hydration, water) + np.outer(baseline, background) + _lattice(wavenumber, crystallinity)
    noise_sd = noise * _NOISE_SPREAD ** rng.uniform(-1, 1, n_obs)
    x = mean + noise_sd[:, None] * rng.normal(size=mean.shape)

    obs = pd.DataFrame(
        {
            Key.obs.HYDRATION: hydration,
            Key.obs.CRYSTALLINITY: crystallinity,
            Key.obs.BASELINE: baseline,
            Key.obs.NOISE_SD: noise_sd,
        },
        index=[f"spectrum_{i}" for i in range(n_obs)],
    )
    var = pd.DataFrame(
        {Key.var.WAVENUMBER: wavenumber, Key.var.WATER: water, Key.var.BASELINE: background},
        index=[f"{each:.2f}" for each in wavenumber],
    )
    params: dict[str, Any] = {"n_obs": n_obs, "n_wavenumbers": n_wavenumbers, "noise": noise}
    # a generator has no number to write down
    params["seed"] = int(seed) if isinstance(seed, int | np.integer) else "not recorded"
    return AnnData(
        x.astype(np.float32),
        obs=obs,
        var=var,
        obsm={Key.obsm.FACTORS: factors},
        layers={Key.layers.TRUE_MEAN: mean.astype(np.float32)},
        uns={Key.uns.SIMULATE_SPECTRA: {Key.uns.PARAMS: params}},
    )


def _lattice(wavenumber: np.ndarray, crystallinity: np.ndarray) -> np.ndarray:
    """Lorentzian bands whose width follows crystallinity while their area stays, ``(n_obs, n_wavenumbers)``."""
    width = (_WIDEST * (_NARROWEST / _WIDEST) ** crystallinity)[:, None]
    bands = np.zeros((len(crystallinity), len(wavenumber)))
    for centre, height in _LATTICE.items():
        half = np.square(width / 2)
        bands += height * _REFERENCE / width * half / (np.square(wavenumber - centre) + half)
    return bands
