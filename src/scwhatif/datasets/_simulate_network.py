"""Cells made from a known regulatory network, with known consequences of every knockout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif._keys import Key
from scwhatif.datasets._regulatory_network import RegulatoryNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

# Log-rate of redundant genes in the cell type that does without their process.
_SILENT = -5.0
# Regulators are expressed enough to be seen: mean and standard deviation of their baseline, on the log-rate.
_REGULATOR_BASELINE = (1.0, 0.3)
_DISPERSION_LOG_SD = 0.3


def simulate_network(
    n_obs: int = 2000,
    n_vars: int = 400,
    n_regulators: int = 8,
    *,
    n_masters: int = 2,
    n_redundant_pairs: int = 2,
    n_targets: int = 20,
    n_decoys: int = 40,
    effect: float = 1.5,
    share_repressed: float = 0.3,
    regulator_sd: float = 1.0,
    n_cell_types: int = 4,
    cell_type_effect: float = 0.5,
    n_donors: int = 4,
    donor_effect: float = 0.1,
    baseline_sd: float = 1.0,
    library_size: float = 5000.0,
    library_sd: float = 0.3,
    dispersion: float = 5.0,
    knockouts: str | Sequence[str] = (),
    seed: int | np.random.Generator | None = 0,
) -> AnnData:
    r"""Simulate cells with a planted regulatory network, and say what every knockout does to every gene.

    A regulator :math:`r` is active in cell :math:`c` to the degree :math:`a_{cr}` between 0 and 1, which saturates
    with its expression; activities drive processes :math:`p_{cj}`, and these the log-rates of genes:

    .. math::

        \eta_{cg} &= b_g + e_{cg} + \sum_j W_{gj} \, (p_{cj} - p^*_j), \qquad
        a_{cr} = \frac{u_{cr}}{u_{cr} + \kappa_r}, \quad u_{cr} = \exp(\eta_{cr} - b_r) \\
        p_{cj} &= \begin{cases}
            a_{cr} & \text{one regulator } r \\
            1 - (1 - a_{cr}) (1 - a_{cr'}) & \text{a redundant pair } r, r'
        \end{cases} \\
        \rho_{cg} &= \ell_c \, \frac{\exp \eta_{cg}}{\sum_h \exp \eta_{ch}}, \qquad
        x_{cg} \sim \mathrm{NB}(\text{mean } \rho_{cg}, \text{variance } \rho_{cg} + \rho_{cg}^2 / \theta_g)

    :math:`e_{cg}` adds what no network explains: effects of cell type and donor on every gene, and variation between
    cells of the genes that drive others and of decoys. :math:`p^*` is the process at baseline (:math:`u = 1`). A
    knockout sets expression and activity of a gene to 0, and what follows is the truth stored here. Genes have roles:

    ============== ====================================================================================================
    ``master``     drives its targets, and regulators: knocking it out reaches their targets through them
    ``regulator``  drives its targets alone; driven by one master, if there are any
    ``redundant``  one of two that keep up a process together (:math:`\kappa` = 0.1 instead of 1, so that either
                   suffices): knocking out one does little, both a lot. Where there are
                   several cell types, each pair is silent in one of them
    ``target``     driven by one process, drives nothing
    ``decoy``      expressed and as variable from cell to cell as those that drive others, but drives nothing: without
                   decoys, whoever ranks genes by their variance has found the network
    ``bystander``  neither; varies with cell type and donor like all others, so correlates with much and obeys nothing
    ============== ====================================================================================================

    Truth is drawn before counts: with the same seed and further ``knockouts``, the same cells come back as they would
    be without these genes, with new counts.

    Parameters
    ----------
    n_obs
        Number of cells.
    n_vars
        Number of genes; those that have no other role are bystanders.
    n_regulators
        Number of genes in the role ``regulator``.
    n_masters
        Number of masters; regulators are dealt out to them in turn.
    n_redundant_pairs
        Number of processes kept up by two genes.
    n_targets
        Number of targets of each process; no gene is a target of two.
    n_decoys
        Number of decoys.
    effect
        Median of :math:`|W|`, which is log-normal with standard deviation 0.25: what full activity, compared with
        none, does to the log-rate.
    share_repressed
        Share of negative :math:`W`, in [0, 1]; redundant processes and masters' effects on regulators have none.
    regulator_sd
        Standard deviation over cells of the log-rate of masters, regulators, redundant genes and decoys.
    n_cell_types, n_donors
        Number of cell types, of equal expected size, and of donors, equally large (to one cell) and independent.
    cell_type_effect, donor_effect
        Standard deviation over genes of the effect of a cell type and of a donor, on the log-rate.
    baseline_sd
        Standard deviation over genes of :math:`b`; that of genes that drive others and of decoys has mean 1 and
        deviation 0.3.
    library_size
        Median number of counts per cell.
    library_sd
        Standard deviation of the log library size.
    dispersion
        Median over genes of the inverse dispersion :math:`\theta_g`, which is log-normal with standard deviation 0.3.
    knockouts
        Genes to knock out in all cells, of any role.
    seed
        Seed or generator; ``None`` draws a fresh one.

    Returns
    -------
    AnnData, ``n_obs`` × ``n_vars``, with

    ``X``, ``layers["counts"]`` : CSR matrix, float32
        :math:`x`.
    ``layers["true_rate"]`` : array, float32
        :math:`\rho`.
    ``obs["cell_type"]``, ``obs["donor"]`` : category; ``obs["library_size"]`` : float64
        Cell type, donor and :math:`\ell`.
    ``obsm["true_activity"]`` : array (``n_obs`` × genes that drive others), float64
        :math:`a`, columns in the order of ``var_names``, where these genes come first.
    ``var["role"]`` : category; ``var["baseline"]``, ``var["dispersion"]`` : float64
        Role, :math:`b` and :math:`\theta`.
    ``varp["true_network"]`` : CSR matrix (``n_vars`` × ``n_vars``), float64
        :math:`W`, from the row's gene to the column's; both genes of a redundant pair have that of their process.
    ``varp["true_knockout"]`` : CSR matrix (``n_vars`` × ``n_vars``), float64
        Mean over cells of the change of the column's :math:`\eta` when the row's gene is knocked out, through all
        paths, in the cells without ``knockouts``. Log fold changes before rates are brought to the cell's library; 0
        for the gene itself, whose rate vanishes.
    ``varm["true_double_knockout"]`` : array (``n_vars`` × ``n_redundant_pairs``), float64
        The same for both genes of each redundant pair at once.
    ``uns["simulate_network"]["redundant_pairs"]`` : DataFrame
        ``gene_a``, ``gene_b``, and the mean over the targets of their process of the change without the one
        (``single_a``, ``single_b``) and without both (``both``).
    ``uns["simulate_network"]["params"]`` : dict
        The arguments.

    Raises
    ------
    ValueError
        A number is out of range, or ``n_vars`` too small for all roles.
    KeyError
        A gene to knock out does not exist.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_network(100, 150, 3, n_targets=10)
    >>> adata.var["role"].value_counts(sort=False).to_dict()
    {'master': 2, 'regulator': 3, 'redundant': 4, 'target': 70, 'decoy': 40, 'bystander': 31}
    >>> adata.uns["simulate_network"]["redundant_pairs"][["single_a", "single_b", "both"]].round(2)
       single_a  single_b  both
    0     -0.11     -0.21 -1.16
    1     -0.15     -0.20 -1.29
    >>> without = wi.datasets.simulate_network(100, 150, 3, n_targets=10, knockouts=["master_0"])
    >>> float(without[:, "master_0"].X.sum())
    0.0
    """
    from anndata import AnnData

    params: dict[str, Any] = {
        "n_obs": n_obs,
        "n_vars": n_vars,
        "n_regulators": n_regulators,
        "n_masters": n_masters,
        "n_redundant_pairs": n_redundant_pairs,
        "n_targets": n_targets,
        "n_decoys": n_decoys,
        "effect": effect,
        "share_repressed": share_repressed,
        "regulator_sd": regulator_sd,
        "n_cell_types": n_cell_types,
        "cell_type_effect": cell_type_effect,
        "n_donors": n_donors,
        "donor_effect": donor_effect,
        "baseline_sd": baseline_sd,
        "library_size": library_size,
        "library_sd": library_sd,
        "dispersion": dispersion,
    }
    _check(params)
    rng = np.random.default_rng(seed)

    network = RegulatoryNetwork.draw(
        rng, n_vars, (n_masters, n_regulators, n_redundant_pairs), n_targets, n_decoys, effect, share_repressed
    )
    n_drivers = network.n_drivers
    var_names, roles = network.genes()
    knocked = _positions(knockouts, var_names)
    baseline = rng.normal(0.0, baseline_sd, n_vars)
    variable = np.isin(roles, ["master", "regulator", "redundant", "decoy"])
    baseline[variable] = rng.normal(*_REGULATOR_BASELINE, variable.sum())
    theta = dispersion * np.exp(rng.normal(0.0, _DISPERSION_LOG_SD, n_vars))

    cell_type = rng.integers(n_cell_types, size=n_obs)
    donor = rng.permutation(np.arange(n_obs) % n_donors)
    own = rng.normal(0.0, cell_type_effect, (n_cell_types, n_vars))[cell_type]
    own += rng.normal(0.0, donor_effect, (n_donors, n_vars))[donor]
    own[:, variable] += rng.normal(0.0, regulator_sd, (n_obs, variable.sum()))
    for i, pair in enumerate(network.pairs if n_cell_types > 1 else []):
        own[np.ix_(cell_type == i % n_cell_types, pair)] += _SILENT
    library = np.exp(rng.normal(np.log(library_size), library_sd, n_obs))

    activity, process = network.run(own[:, :n_drivers], knocked)
    eta = baseline + own + (process - network.resting) @ network.weights.T
    eta[:, knocked] = -np.inf
    share = np.exp(eta - eta.max(axis=1, keepdims=True))
    mean = library[:, None] * share / share.sum(axis=1, keepdims=True)
    counts = sparse.csr_matrix(rng.poisson(rng.gamma(theta, mean / theta)).astype(np.float32))

    singles = network.knockout_effects(own[:, :n_drivers], [[r] for r in range(n_drivers)])
    doubles = network.knockout_effects(own[:, :n_drivers], network.pairs)
    # a generator has no number to write down
    params["seed"] = int(seed) if isinstance(seed, int | np.integer) else "not recorded"
    params["knockouts"] = np.array([var_names[gene] for gene in knocked], dtype=object)
    return AnnData(
        counts,
        obs=pd.DataFrame(
            {
                Key.obs.CELL_TYPE: _labels("type", cell_type, n_cell_types),
                Key.obs.DONOR: _labels("donor", donor, n_donors),
                Key.obs.LIBRARY_SIZE: library,
            },
            index=[f"cell_{i}" for i in range(n_obs)],
        ),
        var=pd.DataFrame(
            {Key.var.ROLE: roles, Key.var.BASELINE: baseline, Key.var.DISPERSION: theta}, index=pd.Index(var_names)
        ),
        obsm={Key.obsm.TRUE_ACTIVITY: activity},
        varm={Key.varm.TRUE_DOUBLE_KNOCKOUT: doubles.T},
        varp={
            Key.varp.TRUE_NETWORK: _square(network.direct(), n_vars),
            Key.varp.TRUE_KNOCKOUT: _square(singles, n_vars),
        },
        layers={Key.layers.TRUE_RATE: mean.astype(np.float32), Key.layers.COUNTS: counts.copy()},
        uns={
            Key.uns.SIMULATE_NETWORK: {
                Key.uns.PARAMS: params,
                "redundant_pairs": _pair_table(network, var_names, singles, doubles),
            }
        },
    )


def _square(rows: NDArray[np.float64], n_vars: int) -> sparse.csr_matrix:
    """Genes × genes, the rows given first and nothing below."""
    return sparse.csr_matrix(sparse.vstack([sparse.csr_matrix(rows), sparse.csr_matrix((n_vars - len(rows), n_vars))]))


def _pair_table(
    network: RegulatoryNetwork, var_names: list[str], singles: NDArray[np.float64], doubles: NDArray[np.float64]
) -> pd.DataFrame:
    rows = []
    for i, (a, b) in enumerate(network.pairs):
        targets = network.weights[:, network.n_single + i] != 0
        changes = [float(effect[targets].mean()) for effect in (singles[a], singles[b], doubles[i])]
        rows.append((var_names[a], var_names[b], *changes))
    table = pd.DataFrame(rows, columns=["gene_a", "gene_b", "single_a", "single_b", "both"])
    table.index = table.index.astype(str)
    return table


def _positions(knockouts: str | Sequence[str], var_names: list[str]) -> list[int]:
    knockouts = [knockouts] if isinstance(knockouts, str) else knockouts
    unknown = [gene for gene in knockouts if gene not in var_names]
    if unknown:
        msg = f"knockouts={unknown} are not genes of this network; they are named {', '.join(var_names[:2])}, …"
        raise KeyError(msg)
    return [var_names.index(gene) for gene in knockouts]


def _check(params: dict[str, Any]) -> None:
    for name in ("n_obs", "n_vars", "n_targets", "n_cell_types", "n_donors"):
        if params[name] < 1:
            msg = f"{name}={params[name]} must be at least 1."
            raise ValueError(msg)
    for name in ("library_size", "dispersion", "effect"):
        if not params[name] > 0:
            msg = f"{name}={params[name]} must be positive."
            raise ValueError(msg)
    numbers = ("n_regulators", "n_masters", "n_redundant_pairs")
    spreads = ("regulator_sd", "cell_type_effect", "donor_effect", "baseline_sd", "library_sd")
    for name in (*numbers, "n_decoys", *spreads):
        if not params[name] >= 0:
            msg = f"{name}={params[name]} must not be negative."
            raise ValueError(msg)
    if not 0 <= params["share_repressed"] <= 1:
        msg = f"share_repressed={params['share_repressed']} must be in [0, 1]."
        raise ValueError(msg)
    n_processes = sum(params[name] for name in numbers)
    needed = n_processes * (1 + params["n_targets"]) + params["n_redundant_pairs"] + params["n_decoys"]
    if n_processes == 0 or needed > params["n_vars"]:
        msg = (
            f"{n_processes} processes with n_targets={params['n_targets']} targets each and n_decoys="
            f"{params['n_decoys']} need at least one process and n_vars={needed} genes, not {params['n_vars']}."
        )
        raise ValueError(msg)


def _labels(kind: str, codes: NDArray[np.int64], n: int) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, categories=[f"{kind}_{i}" for i in range(n)])
