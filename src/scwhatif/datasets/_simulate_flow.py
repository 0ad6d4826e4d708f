"""From driver mutations to metabolites along a known graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scwhatif._keys import Key
from scwhatif._mudata import without_pulling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

_PROTEIN_FROM_LATENT = 0.6
_SITE_FROM_LATENT = 0.6
_RANK = 2
_RNA_DISPERSION = 5.0


def simulate_flow(
    n_obs: int = 300,
    *,
    n_drivers: int = 19,
    n_active: int = 3,
    n_rna: int = 500,
    n_protein: int = 300,
    n_ptm: Sequence[int] = (10, 40, 100, 200, 400),
    n_metabolites: int = 150,
    n_latent: int = 8,
    n_lineages: int = 4,
    driver_effect: float = 2.0,
    cis_effect: float = 0.8,
    fusion_effect: float = 2.0,
    fusion_layer: int = 2,
    leading_layer: int = 0,
    confounding: float = 1.0,
    noise_sd: float = 0.6,
    not_called: float = 0.02,
    missing_values: float = 0.1,
    missing_samples: float = 0.1,
    rna_likelihood: Literal["normal", "nb"] = "normal",
    seed: int | np.random.Generator | None = 42,
) -> MuData:
    r"""Simulate tumours with drivers, RNA, proteins, several layers of modified sites, and metabolites.

    .. math::

        x_{ij} &\sim \mathrm{Bernoulli}\bigl(\mathrm{logit}^{-1}(c_j + \text{confounding} \cdot h_{j s_i})\bigr) \\
        z_i &= A x_i + \text{confounding} \cdot u_{s_i} + N(0, I) \\
        r_{ig} &= w_g^\top z_i + d_g x_{i\,\mathrm{cna}(g)} + \varepsilon \\
        p_{ij} &= 0.6\, w_j^\top z_i + a_j\, r_{i\,\mathrm{gene}(j)} + \varepsilon \\
        m^k_{ij} &= 0.6\, w_j^\top z_i + b_j\, p_{i\,\mathrm{parent}(j)}
            + f_j\, x_{i\,\mathrm{fusion}} [k = \text{fusion\_layer}] + \varepsilon \\
        y_{ij} &= M_j\, m^{\text{leading\_layer}}_i + \varepsilon, \qquad \mathrm{rank}\, M = 2,
        \qquad \varepsilon \sim N(0, \text{noise\_sd}^2)

    Lineage :math:`s` shifts both how often a driver occurs and the latent state, so it confounds them. Only
    ``n_active`` drivers move :math:`z` (columns of :math:`A`); one driver is a gain (CNA) that also raises the RNA of
    its own gene, and the last driver is a fusion that acts on the sites of a single layer and on nothing else.
    The metabolites are driven by one layer of sites, whatever its size. Everything is linear, so the total effect of
    every driver on every feature is known (``varm["true_driver_effect"]``).

    Every modality then loses a random ``missing_samples`` of its rows and keeps the others in an order of its own.
    Proteins, sites and metabolites lose values not at random: the lower, the likelier.

    Parameters
    ----------
    n_obs
        Number of samples.
    n_drivers
        Number of drivers, at least ``n_active + 2``: the active ones first, then bystanders, then the CNA, then the
        fusion.
    n_active
        Number of mutations that move the latent state.
    n_rna, n_protein, n_metabolites
        Number of features. There are at most as many proteins as genes.
    n_ptm
        Number of sites of each layer ``"ptm_0"``, ``"ptm_1"`` …
    n_latent
        Number of latent dimensions.
    n_lineages
        Number of lineages, of equal expected size.
    driver_effect
        Length of the step in :math:`z` that an active driver makes.
    cis_effect
        Mean of the weights :math:`a, b` of the parent in protein and site, and the size of the CNA's :math:`d`.
    fusion_effect
        Standard deviation of :math:`f`.
    fusion_layer, leading_layer
        Index into ``n_ptm``: the layer the fusion acts on, and the one that drives the metabolites.
    confounding
        Strength of the lineage; 0 makes drivers and state independent of it.
    noise_sd
        Standard deviation of the noise of every feature.
    not_called
        Share of driver entries that are NaN, at random.
    missing_values
        Mean share of NaN in proteins, sites and metabolites.
    missing_samples
        Share of rows that each modality lacks.
    rna_likelihood
        ``"normal"``: :math:`r` itself; ``"nb"``: counts around :math:`e^{r + 2}` with inverse dispersion 5.
    seed
        Seed or generator; ``None`` draws a fresh one.

    Returns
    -------
    MuData with the modalities ``"drivers"``, ``"rna"``, ``"protein"``, ``"ptm_0"`` …, ``"metabolome"``, and

    ``obs["lineage"]`` : category
        :math:`s`.
    ``obsm["true_factors"]`` : array (samples × ``n_latent``), float64
        :math:`z`.
    ``uns["simulate_flow"]`` : dict
        ``"driver_to_latent"`` (:math:`A`, ``n_latent`` × ``n_drivers``), ``"active_drivers"``, ``"cna"``, ``"fusion"``,
        ``"fusion_layer"``, ``"leading_layer"`` (names) and ``"params"`` (the arguments).

    and in every modality

    ``X`` : array, float32
        The measurement; NaN where not called or missing.
    ``var["gene_symbol"]`` : str
        Gene of the feature; not for metabolites.
    ``var["parent"]`` : str, ``var["cis_weight"]`` : float64
        Proteins and sites: name of the gene or protein they come from, and :math:`a` or :math:`b`.
    ``var["kind"]`` : str
        Drivers: ``"mutation"``, ``"cna"`` or ``"fusion"``.
    ``varm["true_loadings"]`` : array (features × ``n_latent``), float64
        Direct effect of :math:`z`; not for drivers.
    ``varm["true_driver_effect"]`` : array (features × ``n_drivers``), float64
        Change of the mean when the driver is switched on, over all paths; not for drivers.
    ``layers["true_mean"]`` : array, float32
        The mean given the state and the actual parents, nowhere missing; not for drivers.

    Raises
    ------
    ValueError
        A number is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> mdata = wi.datasets.simulate_flow(60, n_rna=30, n_protein=20, n_ptm=(5, 8, 10), n_metabolites=6)
    >>> list(mdata.mod)
    ['drivers', 'rna', 'protein', 'ptm_0', 'ptm_1', 'ptm_2', 'metabolome']
    >>> mdata["ptm_2"].varm["true_driver_effect"].shape
    (10, 19)
    """
    params: dict[str, Any] = {key: value for key, value in locals().items() if key != "seed"}
    import mudata
    from anndata import AnnData

    params["n_ptm"] = np.asarray(n_ptm, dtype=np.int64)
    _check(params)
    rng = np.random.default_rng(seed)

    def noise(n_vars: int) -> np.ndarray:
        return rng.normal(0.0, noise_sd, (n_obs, n_vars))

    def loadings(n_vars: int, scale: float = 1.0) -> np.ndarray:
        return rng.normal(0.0, scale / np.sqrt(n_latent), (n_vars, n_latent))

    lineage = rng.permutation(np.arange(n_obs) % n_lineages)
    cna, fusion = n_drivers - 2, n_drivers - 1
    names = [f"mut_{j}" for j in range(n_drivers - 2)] + ["cna", "fusion"]
    log_odds = rng.uniform(-1.6, -0.8, n_drivers) + confounding * rng.normal(0.0, 0.7, (n_lineages, n_drivers))
    drivers = (rng.random((n_obs, n_drivers)) < 1 / (1 + np.exp(-log_odds[lineage]))).astype(float)

    to_latent = np.zeros((n_latent, n_drivers))
    step = rng.normal(size=(n_latent, n_active))
    to_latent[:, :n_active] = driver_effect * step / np.linalg.norm(step, axis=0)
    shift = confounding * rng.normal(0.0, 0.7, (n_lineages, n_latent))
    z = drivers @ to_latent.T + shift[lineage] + rng.normal(size=(n_obs, n_latent))

    driver_gene = rng.permutation(n_rna)[np.arange(n_drivers) % n_rna]
    modalities: dict[str, AnnData] = {}
    total: dict[str, np.ndarray] = {}
    obs_names = np.array([f"sample_{i}" for i in range(n_obs)])
    rows = {
        name: rng.permutation(n_obs)[: max(2, n_obs - round(missing_samples * n_obs))]
        for name in ["drivers", "rna", "protein", *(f"ptm_{k}" for k in range(len(n_ptm))), "metabolome"]
    }

    def add(name: str, mean: np.ndarray, value: np.ndarray, var: pd.DataFrame, w: np.ndarray, *, mnar: bool) -> None:
        observed = _drop_low(rng, value, missing_values) if mnar else value
        keep = rows[name]
        modalities[name] = AnnData(
            observed[keep].astype(np.float32),
            obs=pd.DataFrame(index=obs_names[keep]),
            var=var,
            varm={Key.varm.TRUE_LOADINGS: w, Key.varm.TRUE_DRIVER_EFFECT: total[name]},
            layers={Key.layers.TRUE_MEAN: mean[keep].astype(np.float32)},
        )

    genes = np.array([f"gene_{g}" for g in range(n_rna)])
    called = np.where(rng.random(drivers.shape) < not_called, np.nan, drivers)[rows["drivers"]]
    kinds = ["mutation"] * (n_drivers - 2) + ["cna", "fusion"]
    modalities["drivers"] = AnnData(
        called.astype(np.float32),
        obs=pd.DataFrame(index=obs_names[rows["drivers"]]),
        var=pd.DataFrame({Key.var.GENE_SYMBOL: genes[driver_gene], Key.var.KIND: kinds}, index=names),
    )

    w = loadings(n_rna)
    total["rna"] = w @ to_latent
    total["rna"][driver_gene[cna], cna] += cis_effect
    mean = z @ w.T
    mean[:, driver_gene[cna]] += cis_effect * drivers[:, cna]
    rna = mean + noise(n_rna)
    value = rna
    if rna_likelihood == "nb":
        mean = np.exp(np.clip(rna + 2.0, None, 12.0))
        value = rng.poisson(rng.gamma(_RNA_DISPERSION, mean / _RNA_DISPERSION)).astype(float)
    add("rna", mean, value, pd.DataFrame({Key.var.GENE_SYMBOL: genes}, index=genes), w, mnar=False)

    gene_of = rng.permutation(n_rna)[:n_protein]
    proteins = np.array([f"protein_{g}" for g in gene_of])
    w, weight = loadings(n_protein, _PROTEIN_FROM_LATENT), cis_effect * rng.uniform(0.5, 1.5, n_protein)
    total["protein"] = w @ to_latent + weight[:, None] * total["rna"][gene_of]
    mean = z @ w.T + weight * rna[:, gene_of]
    protein = mean + noise(n_protein)
    var = _var(proteins, genes[gene_of], genes[gene_of], weight)
    add("protein", mean, protein, var, w, mnar=True)

    for k, n_sites in enumerate(n_ptm):
        name, parent = f"ptm_{k}", rng.integers(n_protein, size=n_sites)
        w, weight = loadings(n_sites, _SITE_FROM_LATENT), cis_effect * rng.uniform(0.5, 1.5, n_sites)
        direct = fusion_effect * rng.normal(size=n_sites) * (k == fusion_layer)
        total[name] = w @ to_latent + weight[:, None] * total["protein"][parent]
        total[name][:, fusion] += direct
        mean = z @ w.T + weight * protein[:, parent] + np.outer(drivers[:, fusion], direct)
        sites = mean + noise(n_sites)
        labels = np.array([f"{proteins[p]}_site_{k}.{j}" for j, p in enumerate(parent)])
        add(name, mean, sites, _var(labels, genes[gene_of[parent]], proteins[parent], weight), w, mnar=True)
        if k == leading_layer:
            mix = rng.normal(size=(n_metabolites, _RANK)) @ rng.normal(size=(_RANK, n_sites)) / np.sqrt(_RANK * n_sites)
            to_metabolites, leading = mix, sites
    total["metabolome"] = to_metabolites @ total[f"ptm_{leading_layer}"]
    mean = leading @ to_metabolites.T
    var = pd.DataFrame(index=[f"metabolite_{j}" for j in range(n_metabolites)])
    add("metabolome", mean, mean + noise(n_metabolites), var, np.zeros((n_metabolites, n_latent)), mnar=True)

    with without_pulling():
        mdata = mudata.MuData(modalities)
    order = pd.Index(obs_names).get_indexer(mdata.obs_names)
    mdata.obs[Key.obs.LINEAGE] = pd.Categorical.from_codes(
        lineage[order], categories=[f"lineage_{s}" for s in range(n_lineages)]
    )
    mdata.obsm[Key.obsm.FACTORS] = z[order]
    # a generator has no number to write down
    params["seed"] = int(seed) if isinstance(seed, int | np.integer) else "not recorded"
    mdata.uns[Key.uns.SIMULATE_FLOW] = {
        "driver_to_latent": to_latent,
        "active_drivers": np.array(names[:n_active], dtype=object),
        "cna": "cna",
        "fusion": "fusion",
        "fusion_layer": f"ptm_{fusion_layer}",
        "leading_layer": f"ptm_{leading_layer}",
        Key.uns.PARAMS: params,
    }
    return mdata


def _var(names: np.ndarray, symbols: np.ndarray, parents: np.ndarray, weight: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {Key.var.GENE_SYMBOL: symbols, Key.var.PARENT: parents, Key.var.CIS_WEIGHT: weight}, index=names
    )


def _drop_low(rng: np.random.Generator, value: np.ndarray, share: float) -> np.ndarray:
    """NaN with a probability that falls with the value and is ``share`` on average."""
    standard = (value - value.mean(axis=0)) / np.maximum(value.std(axis=0), 1e-12)
    probability = 2 * share / (1 + np.exp(2.0 * standard))
    return np.where(rng.random(value.shape) < probability, np.nan, value)


def _check(params: dict[str, Any]) -> None:
    for name, least in [("n_obs", 4), ("n_active", 1), ("n_protein", 1), ("n_metabolites", 1), ("n_latent", 1)]:
        if params[name] < least:
            msg = f"{name}={params[name]} must be at least {least}."
            raise ValueError(msg)
    if params["n_drivers"] < params["n_active"] + 2:
        msg = f"n_drivers={params['n_drivers']} must be at least n_active + 2: a CNA and a fusion come on top."
        raise ValueError(msg)
    if params["n_rna"] < params["n_protein"]:
        msg = f"n_protein={params['n_protein']} exceeds n_rna={params['n_rna']}: every protein has a gene of its own."
        raise ValueError(msg)
    if not len(params["n_ptm"]) or min(params["n_ptm"]) < 1:
        msg = f"n_ptm={params['n_ptm'].tolist()} must name at least one layer, of at least one site each."
        raise ValueError(msg)
    for name in ("fusion_layer", "leading_layer"):
        if not 0 <= params[name] < len(params["n_ptm"]):
            msg = f"{name}={params[name]} must be an index into n_ptm, which has {len(params['n_ptm'])} layers."
            raise ValueError(msg)
    if not 1 <= params["n_lineages"] <= params["n_obs"]:
        msg = f"n_lineages={params['n_lineages']} must be between 1 and n_obs."
        raise ValueError(msg)
    for name in ("driver_effect", "cis_effect", "fusion_effect", "confounding", "noise_sd"):
        if not params[name] >= 0:
            msg = f"{name}={params[name]} must not be negative."
            raise ValueError(msg)
    for name, upper in (("not_called", 1.0), ("missing_values", 0.5), ("missing_samples", 1.0)):
        if not 0 <= params[name] < upper:
            msg = f"{name}={params[name]} must be at least 0 and below {upper:g}."
            raise ValueError(msg)
    if params["rna_likelihood"] not in ("normal", "nb"):
        msg = f"rna_likelihood={params['rna_likelihood']!r} must be 'normal' or 'nb'."
        raise ValueError(msg)
