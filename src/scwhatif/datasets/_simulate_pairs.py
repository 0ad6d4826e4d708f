"""Enhancer–promoter pairs whose interaction follows a known energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scwhatif._keys import Key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

# Lowest and highest resistance of a cell line unless given; divided by the number of channels.
_RESISTANCE = (1.0, 2.5)
# Share of the variance of a mark at a locus that cell lines have in common.
_CONSERVED = 0.5
_ENHANCERS_PER_PROMOTER = 2
# In base pairs: what a locus may move within its slot keeps neighbours apart.
_SLOT, _JITTER = 10_000, 5_000
_ENHANCER_LENGTH, _PROMOTER_LENGTH = 400, 2_000
_REGIONS = ("enhancer", "promoter", "window")


def simulate_pairs(
    n_cell_lines: int = 4,
    n_chroms: int = 5,
    n_promoters: int = 20,
    *,
    n_neighbours: int = 5,
    n_marks: int = 4,
    n_channels: int = 1,
    resistance: Sequence[float] | np.ndarray | None = None,
    coupling: float | Sequence[float] = 0.3,
    temperature: float = 0.5,
    nonlinear: bool = False,
    shift: float = 1.0,
    shared: float = 0.5,
    locus_share: float = 0.0,
    n_missing_marks: int = 0,
    seed: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate pairs of an enhancer and a promoter in several cell lines, with a planted interaction energy.

    Pair :math:`i` in cell line :math:`c` interacts (:math:`y_i = 1`) with probability

    .. math::

        P_i = \sigma\Big(\tfrac1T \sum_k U_{ik} - R_{ck} + \lambda_k U_{ik} R_{ck}\Big)

    with :math:`\lambda` the coupling, :math:`R` the resistance of the line and :math:`T` the temperature.
    :math:`U_k` is a function of the marks of enhancer, promoter and window, and of their distance, the same in every
    line: linear, or half linear and half products of an enhancer mark with the same mark at the promoter. It has mean
    0 and standard deviation 1 over all pairs, which fixes the scale and origin of :math:`R`, :math:`\lambda` and
    :math:`T`.

    In line :math:`c` a mark is measured as :math:`x_{ij} = z_{ij} + \text{shift} \sum_k R_{ck} v_{jk}`, where
    :math:`z` is standard normal and what :math:`U` sees. So a mean over unlabelled pairs of a line, also of a line
    never seen before, tells its resistance, and :math:`z` comes back by centring each line. With ``shift=0`` nothing
    but the labels tells the resistance.

    Each promoter is paired with its ``n_neighbours`` nearest enhancers, so that neighbouring pairs have loci in
    common; some loci are used by all lines, and half of the variance of their marks is common to the lines too.

    Parameters
    ----------
    n_cell_lines
        Number of cell lines.
    n_chroms
        Number of chromosomes, named ``chr1`` onwards.
    n_promoters
        Promoters per chromosome and line. There are twice as many enhancers.
    n_neighbours
        Enhancers that a promoter is paired with, at most ``2 * n_promoters``.
    n_marks
        Number of marks, each measured at the enhancer, at the promoter and in the window between them.
    n_channels
        Number of channels :math:`k`. One cannot change the order of the pairs within a line, several can.
    resistance
        :math:`R`, not negative: one per line, or lines × channels. ``None`` spaces the lines evenly from 1 to 2.5,
        divided by the number of channels, in another order for each channel.
    coupling
        :math:`\lambda`, one for all channels or one per channel.
    temperature
        :math:`T`.
    nonlinear
        Whether :math:`U` has the products in it.
    shift
        How far the marks move with the resistance of the line.
    shared
        Share of the loci that all lines use; the others belong to one line each.
    locus_share
        Share of the variance of :math:`U` that belongs to the enhancer and the promoter but shows in no mark. It can
        be looked up from other pairs of the same locus and is unknown for new loci: what makes a random split of
        pairs look better than it is.
    n_missing_marks
        The last cell line lacks this many marks, the last ones, as NaN.
    seed
        Seed or generator; ``None`` draws a fresh one. Loci and marks are drawn first: resistance, coupling,
        temperature and shift do not change them.

    Returns
    -------
    AnnData, pairs × features, ``n_cell_lines * n_chroms * n_promoters * n_neighbours`` pairs, with

    ``X`` : array, float32
        :math:`x`, and in the last column the logarithm to base 10 of the distance.
    ``obs["cell_line"]``, ``obs["chrom"]`` : category
        Where the pair was seen.
    ``obs["label"]`` : int64
        :math:`y`.
    ``obs["enhancer_start"]``, ``obs["enhancer_end"]``, ``obs["promoter_start"]``, ``obs["promoter_end"]`` : int64
        Zero-based, half-open.
    ``obs["distance"]`` : int64
        Base pairs between the two.
    ``obs["true_probability"]`` : float64
        :math:`P`.
    ``obsm["true_utility"]`` : array (pairs × channels), float64
        :math:`U`.
    ``var["mark"]``, ``var["region"]`` : str
        What each feature measures, and where; ``"distance"`` for the distance.
    ``uns["simulate_pairs"]["resistance"]`` : array (lines × channels), float64
        :math:`R`, lines in the order of the categories.
    ``uns["simulate_pairs"]["coupling"]`` : array (channels), float64
        :math:`\lambda`.
    ``uns["simulate_pairs"]["prevalence"]`` : array (lines), float64
        Mean of :math:`P` in each line.
    ``uns["simulate_pairs"]["params"]`` : dict
        The arguments.

    Raises
    ------
    ValueError
        A number is out of range, or the resistance or the coupling has another length than lines or channels.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_pairs(3, 2, 10)
    >>> adata.shape, adata.uns["simulate_pairs"]["resistance"].ravel().tolist()
    ((300, 13), [1.0, 1.75, 2.5])
    """
    from anndata import AnnData

    params: dict[str, Any] = {
        "n_cell_lines": n_cell_lines,
        "n_chroms": n_chroms,
        "n_promoters": n_promoters,
        "n_neighbours": n_neighbours,
        "n_marks": n_marks,
        "n_channels": n_channels,
        "temperature": temperature,
        "nonlinear": nonlinear,
        "shift": shift,
        "shared": shared,
        "locus_share": locus_share,
        "n_missing_marks": n_missing_marks,
    }
    _check(params)
    energy = _resistance(resistance, n_cell_lines, n_channels)
    couplings = _per_channel(coupling, n_channels)
    rng = np.random.default_rng(seed)

    obs, promoter, enhancer, n_loci = _pairs(rng, n_cell_lines, n_chroms, n_promoters, n_neighbours, shared)
    line = obs[Key.obs.CELL_LINE].cat.codes.to_numpy()
    z = _marks(rng, line, enhancer, promoter, n_loci, n_marks)
    log_distance = np.log10(obs[Key.obs.DISTANCE].to_numpy(float))
    utility = _utility(rng, z, log_distance, n_channels, nonlinear=nonlinear)
    hidden = rng.normal(size=(n_loci, n_channels))
    hidden = _standardised(hidden[enhancer] + hidden[promoter])
    utility = _standardised(np.sqrt(1 - locus_share) * utility + np.sqrt(locus_share) * hidden)
    direction = rng.normal(size=(z.shape[1], n_channels))

    at_line = energy[line]
    logit = (utility - at_line + couplings * utility * at_line).sum(axis=1) / temperature
    probability = 1 / (1 + np.exp(-logit))
    obs[Key.obs.LABEL] = (rng.uniform(size=len(obs)) < probability).astype(np.int64)
    obs[Key.obs.TRUE_PROBABILITY] = probability

    marks = z + shift * at_line @ direction.T
    var = pd.DataFrame(
        {
            Key.var.MARK: [f"mark_{m}" for _ in _REGIONS for m in range(n_marks)] + ["distance"],
            Key.var.REGION: [region for region in _REGIONS for _ in range(n_marks)] + ["distance"],
        }
    )
    var.index = pd.Index([*(f"{m}|{r}" for m, r in var.to_numpy()[:-1]), "log10_distance"])
    x = np.column_stack([marks, log_distance]).astype(np.float32)
    lacking = var[Key.var.MARK].isin([f"mark_{m}" for m in range(n_marks - n_missing_marks, n_marks)]).to_numpy()
    x[np.ix_(line == n_cell_lines - 1, lacking)] = np.nan
    # a generator has no number to write down
    params["seed"] = int(seed) if isinstance(seed, int | np.integer) else "not recorded"
    planted = {
        "resistance": energy,
        "coupling": couplings,
        "prevalence": np.bincount(line, probability) / np.bincount(line),
        Key.uns.PARAMS: params,
    }
    return AnnData(x, obs=obs, var=var, obsm={Key.obsm.TRUE_UTILITY: utility}, uns={Key.uns.SIMULATE_PAIRS: planted})


def _check(params: dict[str, Any]) -> None:
    for name in ("n_cell_lines", "n_chroms", "n_promoters", "n_neighbours", "n_marks", "n_channels"):
        if params[name] < 1:
            msg = f"{name}={params[name]} must be at least 1."
            raise ValueError(msg)
    n_enhancers = _ENHANCERS_PER_PROMOTER * params["n_promoters"]
    if params["n_neighbours"] > n_enhancers:
        msg = f"n_neighbours={params['n_neighbours']} must not exceed the {n_enhancers} enhancers of a chromosome."
        raise ValueError(msg)
    if not 0 <= params["n_missing_marks"] <= params["n_marks"]:
        msg = f"n_missing_marks={params['n_missing_marks']} must be between 0 and n_marks={params['n_marks']}."
        raise ValueError(msg)
    if not 0 < params["temperature"] < np.inf:
        msg = f"temperature={params['temperature']} must be positive and finite."
        raise ValueError(msg)
    if not np.isfinite(params["shift"]):
        msg = f"shift={params['shift']} must be finite."
        raise ValueError(msg)
    for name in ("shared", "locus_share"):
        if not 0 <= params[name] <= 1:
            msg = f"{name}={params[name]} must be between 0 and 1."
            raise ValueError(msg)


def _resistance(given: Any, n_lines: int, n_channels: int) -> np.ndarray:
    if given is None:
        steps = np.linspace(*_RESISTANCE, n_lines) / n_channels
        return np.column_stack([np.roll(steps, k) for k in range(n_channels)])
    energy = np.asarray(given, dtype=np.float64)
    energy = np.repeat(energy[:, None], n_channels, axis=1) if energy.ndim == 1 else energy
    if energy.shape != (n_lines, n_channels):
        msg = (
            f"resistance has shape {np.shape(given)}; give one per cell line ({n_lines}), or lines × channels "
            f"({n_lines} × {n_channels})."
        )
        raise ValueError(msg)
    if not (np.isfinite(energy).all() and energy.min() >= 0):
        msg = "resistance must be finite and not negative."
        raise ValueError(msg)
    return energy


def _per_channel(coupling: Any, n_channels: int) -> np.ndarray:
    values = np.atleast_1d(np.asarray(coupling, dtype=np.float64))
    if values.shape not in {(1,), (n_channels,)} or not np.isfinite(values).all():
        msg = f"coupling={coupling} must be one finite number, or one for each of {n_channels} channel(s)."
        raise ValueError(msg)
    return np.broadcast_to(values, n_channels).copy()


def _pairs(
    rng: np.random.Generator, n_lines: int, n_chroms: int, n_promoters: int, n_neighbours: int, shared: float
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, int]:
    """Pairs in their places, and for each the number of its promoter and of its enhancer among all loci."""
    parts, n_loci = [], 0
    for chrom in range(n_chroms):
        users = [_users(rng, n, n_lines, shared) for n in (n_promoters, _ENHANCERS_PER_PROMOTER * n_promoters)]
        n_here = len(users[0]) + len(users[1])
        start = (rng.permutation(n_here) + 1) * _SLOT + rng.integers(_JITTER, size=n_here)
        for line in range(n_lines):
            promoters = np.flatnonzero(np.isin(users[0], (-1, line)))
            enhancers = np.flatnonzero(np.isin(users[1], (-1, line))) + len(users[0])
            apart = np.abs(start[promoters][:, None] - start[enhancers])
            nearest = np.argsort(apart, axis=1, kind="stable")[:, :n_neighbours]
            promoter, enhancer = np.repeat(promoters, n_neighbours), enhancers[nearest].ravel()
            parts.append(
                pd.DataFrame(
                    {
                        Key.obs.CELL_LINE: line,
                        Key.obs.CHROM: chrom,
                        Key.obs.ENHANCER_START: start[enhancer],
                        Key.obs.PROMOTER_START: start[promoter],
                        "enhancer": enhancer + n_loci,
                        "promoter": promoter + n_loci,
                    }
                )
            )
        n_loci += n_here
    table = pd.concat(parts, ignore_index=True).sort_values(Key.obs.CELL_LINE, kind="stable", ignore_index=True)
    enhancer_start, promoter_start = table[Key.obs.ENHANCER_START], table[Key.obs.PROMOTER_START]
    enhancer_end, promoter_end = enhancer_start + _ENHANCER_LENGTH, promoter_start + _PROMOTER_LENGTH
    obs = pd.DataFrame(
        {
            Key.obs.CELL_LINE: _named("line_", table[Key.obs.CELL_LINE], range(n_lines)),
            Key.obs.CHROM: _named("chr", table[Key.obs.CHROM] + 1, range(1, n_chroms + 1)),
            Key.obs.ENHANCER_START: enhancer_start,
            Key.obs.ENHANCER_END: enhancer_end,
            Key.obs.PROMOTER_START: promoter_start,
            Key.obs.PROMOTER_END: promoter_end,
            Key.obs.DISTANCE: np.maximum(promoter_start - enhancer_end, enhancer_start - promoter_end),
        }
    )
    obs.index = pd.Index([f"pair_{i}" for i in range(len(obs))])
    return obs, table["promoter"].to_numpy(), table["enhancer"].to_numpy(), n_loci


def _users(rng: np.random.Generator, n: int, n_lines: int, shared: float) -> np.ndarray:
    """Line that uses each locus, -1 for all of them: ``n`` for every line."""
    n_shared = round(shared * n)
    return rng.permutation(np.concatenate([np.full(n_shared, -1), np.repeat(np.arange(n_lines), n - n_shared)]))


def _named(prefix: str, codes: pd.Series, known: range) -> pd.Categorical:
    return pd.Categorical(prefix + codes.astype(str), categories=[f"{prefix}{i}" for i in known])


def _marks(
    rng: np.random.Generator, line: np.ndarray, enhancer: np.ndarray, promoter: np.ndarray, n_loci: int, n_marks: int
) -> np.ndarray:
    """Marks without the shift: of the enhancer, then of the promoter, then of the window."""
    common = rng.normal(size=(n_loci, n_marks))
    own = rng.normal(size=(line.max() + 1, n_loci, n_marks))
    at_locus = np.sqrt(_CONSERVED) * common + np.sqrt(1 - _CONSERVED) * own
    return np.hstack([at_locus[line, enhancer], at_locus[line, promoter], rng.normal(size=(len(line), n_marks))])


def _utility(
    rng: np.random.Generator, z: np.ndarray, log_distance: np.ndarray, n_channels: int, *, nonlinear: bool
) -> np.ndarray:
    n_marks = z.shape[1] // len(_REGIONS)
    linear = _standardised(z @ rng.normal(size=(z.shape[1], n_channels)) - _standardised(log_distance[:, None]))
    products = z[:, :n_marks] * z[:, n_marks : 2 * n_marks]
    curved = _standardised(products @ rng.normal(size=(n_marks, n_channels)))
    return (linear + curved) / np.sqrt(2) if nonlinear else linear


def _standardised(values: np.ndarray) -> np.ndarray:
    sd = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.where(sd > 0, sd, 1.0)
