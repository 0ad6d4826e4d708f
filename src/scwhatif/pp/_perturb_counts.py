"""Copies of cells with edited counts that stay counts."""

from __future__ import annotations

import warnings
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif._validation import check_count_matrix, check_layer
from scwhatif.pp._edit_chains import check_integers, check_pure_factors, edit_chains, read_conditions
from scwhatif.pp._match_totals import match_totals
from scwhatif.pp._replace_columns import read_columns, replace_columns
from scwhatif.pp._scale_counts import RatePrior, gene_prior, put_back, thin
from scwhatif.pp._stack_copies import stack_copies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from scvi.model.base import BaseModelClass

    from scwhatif.perturbation import Perturbation
    from scwhatif.pp._edit_chains import EditChain, PerturbationLike

Method = Literal["thin", "deterministic"]
Up = Literal["poisson", "nb", "posterior", "thin_control"]
Library = Literal["free", "keep"]

_SHOWN = 5


def perturb_counts(
    adata: AnnData,
    perturbations: Perturbation | str | Mapping[str, PerturbationLike],
    *,
    sets: Mapping[str, Iterable[str]] | None = None,
    layer: str | None = None,
    method: Method = "thin",
    up: Up = "poisson",
    library: Library = "free",
    model: BaseModelClass | None = None,
    dispersion: float | str | None = None,
    control: str | None = "control",
    condition_key: str = Key.obs.CONDITION,
    base_cell_key: str = Key.obs.BASE_CELL,
    seed: int = 0,
) -> AnnData:
    r"""Copy cells once for every condition and edit the counts of the copies, so that they stay counts.

    A factor below 1 keeps each molecule with that probability. This is exact: counts :math:`NB(\mu, \theta)` become
    :math:`NB(f\mu, \theta)`, Poisson counts :math:`f\mu`. Multiplying instead leaves fractions that give every edited
    cell away. Molecules to *add* have never been seen, so a factor above 1 needs an assumption, chosen by ``up``. The
    factors of a gene under one condition are multiplied first, so opposite ones cancel, and a factor of 1 changes
    nothing. ``ko``, ``=`` and ``+`` need no draw.

    Copies of one cell are siblings: keep them together in every split of the data, by ``obs["base_cell"]``.

    Parameters
    ----------
    adata
        Cells with counts.
    perturbations
        One perturbation, as :class:`scwhatif.Perturbation` or text, whose condition is called ``"perturbed"``; or
        names of conditions → perturbations, each also as a mapping of targets to operations.
    sets
        Gene sets by name, for perturbations given as text.
    layer
        Layer with the counts; ``None`` for ``X``. ``X`` and layers that hold the very same counts are edited alike.
    method
        ``"thin"`` draws as described. ``"deterministic"`` multiplies and leaves fractions, to reproduce studies that
        did so; models of counts do not hold for the result, and fractions alone tell copies apart.
    up
        What is assumed of a factor :math:`f > 1`; the count is :math:`x`, the expectation of the result :math:`fx`
        over the cells of the data:

        ``"poisson"``
            The count is the rate: adds :math:`\mathrm{Poisson}((f - 1) x)`. Cells without the gene stay without it,
            and the result is more dispersed than a gene that is expressed :math:`f` times as much.
        ``"nb"``
            The gene is :math:`NB(\mu_c, \theta)` with :math:`\mu_c` a share of the cell's library, fitted by maximum
            likelihood, and :math:`\theta` from ``dispersion``. Adds
            :math:`\mathrm{Poisson}((f - 1)\lambda)` with the rate :math:`\lambda` drawn given :math:`x`, which makes
            :math:`NB(f\mu_c, \theta)` of it: the exact inverse of thinning. What cells expect of the gene is the same
            for all, so a gene of one cell type may appear in another.
        ``"posterior"``
            The same with mean, dispersion and dropout of every cell as ``model`` decodes them. The expectation is
            :math:`x + (f - 1)\,\mathrm{E}[\lambda]`, which is :math:`fx` as far as the model fits.
        ``"thin_control"``
            Nothing is added: the *other* copies lose molecules. Every copy starts from counts thinned by 1 over the
            largest factor that any condition has for the gene, and molecules are returned to reach smaller ratios.
            The contrast between copies has no assumption in it, but the control is no longer the cell observed.
    library
        ``"free"`` lets totals follow from the edits; genes that are not touched stay as they are, bit by bit.
        ``"keep"`` draws every copy, all its genes, down to the smallest total among the copies of the cell, without
        replacement (multivariate hypergeometric), as if all had been sequenced to one depth. Totals of the copies are
        then equal and tell nothing; shares of the total stay as edited, so the counts of an edited gene need not
        change by its factor.
    model
        For ``up="posterior"``: a trained model of the scvi kind with a ``"nb"``, ``"zinb"`` or ``"poisson"``
        likelihood, such as :class:`scwhatif.model.BetaLinearSCVI` or :class:`scvi.model.SCVI`, that reads ``layer``.
    dispersion
        For ``up="nb"``: the inverse dispersion :math:`\theta`, a number or a column of ``var``; ``None`` estimates it
        for every gene.
    control
        Name of the unedited copy; ``None`` leaves it out.
    condition_key, base_cell_key
        Columns of ``obs`` to write.
    seed
        Draws depend on it, on the names of condition and gene, and on the cells; not on the order of conditions or
        of genes. With ``up="thin_control"`` or ``library="keep"`` they depend on what the other conditions are.

    Returns
    -------
    A new AnnData of the unedited copy and one copy for each condition, in this order; ``obs_names`` are
    ``"<cell>-<condition>"``. ``adata`` is left as it is.

    ``X`` or ``layers[layer]`` : as in ``adata``
        The counts, in their format and dtype (float64 where ``"deterministic"`` makes fractions of integers).
    ``obs["condition"]`` : category
        Condition, the control first.
    ``obs["base_cell"]`` : category
        Name of the cell in ``adata``.
    ``uns["perturb_counts"]["genes"]`` : DataFrame
        One row per condition and gene touched: ``condition`` (category), ``gene``, ``edit`` (as the grammar writes
        it), ``n_cells_changed`` (int64), ``mean_control`` and ``mean_edited`` (float64, over all cells; before
        ``library="keep"``).
    ``uns["perturb_counts"]["params"]`` : dict
        Arguments and versions.

    ``var``, ``varm``, ``varp`` and ``uns`` are those of ``adata``. Other columns of ``obs``, other layers and ``obsm``
    are repeated and describe the base cell, also where they were computed from its counts. ``obsp``, ``raw`` and the
    bookkeeping of scvi-tools are left out.

    Raises
    ------
    ValueError
        ``layer`` does not hold counts, or cells without any; names of cells are not unique; columns to write are in
        ``obs`` already; a perturbation has no gene, none with counts, or edits something else than genes; a count
        would not be an integer or not fit the dtype; with ``library="keep"`` a copy is left without counts; settings
        contradict each other.
    KeyError
        A layer, gene (the message offers close matches) or column of ``var`` does not exist.
    TypeError
        A perturbation or the name of a condition is of the wrong type, or ``model`` decodes no counts.

    Warns
    -----
    UserWarning
        Some genes of a perturbation have no counts, or a copy is left without counts.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> edited = wi.pp.perturb_counts(adata, {"down": "gene_3:x0.5", "up": {"gene_3": 2.0}})
    >>> edited.obs["condition"].value_counts(sort=False).to_dict()
    {'control': 100, 'down': 100, 'up': 100}
    >>> edited.obs_names[-1], edited.obs["base_cell"].iloc[-1]
    ('cell_99-up', 'cell_99')
    """
    _check_settings(method=method, up=up, library=library, model=model, dispersion=dispersion)
    conditions = read_conditions(perturbations, sets, control)
    _check_names(adata, condition_key, base_cell_key)
    check_layer(adata, layer)
    theta = _inverse_dispersion(adata, dispersion)
    chains = {name: edit_chains(each, adata.var_names, name) for name, each in conditions.items()}
    for name, each in chains.items():
        if method == "thin":
            check_integers(each, name)
            if up != "poisson":
                check_pure_factors(each, name, up)

    memory = adata.to_memory()
    source = memory.X if layer is None else memory.layers[layer]
    check_count_matrix(source, adata.obs_names, "adata.X" if layer is None else f"adata.layers[{layer!r}]")
    base = sparse.csr_matrix(source, copy=True)
    base.sum_duplicates()
    base.eliminate_zeros()
    columns = sorted({chain.column for each in chains.values() for chain in each})
    before = read_columns(base, columns)
    _check_expressed(chains, before)
    if method == "thin":
        before = {column: values.round().astype(np.int64) for column, values in before.items()}

    largest = _largest_factors(chains)
    priors: dict[int, RatePrior] = {}
    if largest and up == "nb":
        total = np.asarray(base.sum(axis=1), dtype=np.float64).ravel()
        priors = {column: gene_prior(before[column], total, theta.get(column)) for column in largest}
    elif largest and up == "posterior":
        from scwhatif.pp._decoded_prior import decoded_prior

        priors = decoded_prior(model, adata, sorted(largest), layer=layer, seed=seed)
    headroom = largest if up == "thin_control" else {}
    start = before | {
        column: thin(before[column], 1 / room, _stream(seed, "lowered", adata.var_names[column]))
        for column, room in headroom.items()
    }

    names = list(chains) if control is None else [control, *chains]
    copies, rows = [], []
    for name in names:
        values = {column: start[column] for column in headroom}
        try:
            for chain in chains.get(name, []):
                column, rng = chain.column, _stream(seed, "edit", name, chain.gene)
                if method == "deterministic":
                    values[column] = chain.multiply(start[column], rng)
                elif chain.enlarges and column in headroom:
                    values[column] = put_back(start[column], before[column], chain.factor, headroom[column], rng)
                else:
                    values[column] = chain.draw(start[column], rng, priors.get(column))
                rows.append(_row(name, chain, start[column], values[column]))
            copies.append(replace_columns(base, values))
        except OverflowError as error:
            msg = f"condition {name!r}: a count of {error.args[0]:.6g} does not fit in {base.dtype}; use a wider dtype."
            raise ValueError(msg) from None
    copies = _checked_depth(copies, names, adata.obs_names, library, seed)

    result = stack_copies(memory, copies, names, layer=layer, condition_key=condition_key, base_cell_key=base_cell_key)
    table = pd.DataFrame(rows)
    table["condition"] = pd.Categorical(table["condition"], categories=list(chains))
    table.index = table.index.astype(str)
    recorded = params(
        model,
        conditions=list(conditions),
        perturbations=[str(each) for each in conditions.values()],
        layer=layer,
        method=method,
        up=up,
        library=library,
        dispersion=dispersion,
        control=control,
        condition_key=condition_key,
        base_cell_key=base_cell_key,
        seed=seed,
    )
    result.uns[Key.uns.PERTURB_COUNTS] = {Key.uns.PARAMS: recorded, "genes": table}
    return result


def _check_settings(
    *, method: str, up: str, library: str, model: BaseModelClass | None, dispersion: float | str | None
) -> None:
    for name, value, known in (
        ("method", method, get_args(Method)),
        ("up", up, get_args(Up)),
        ("library", library, get_args(Library)),
    ):
        if value not in known:
            msg = f"{name}={value!r} must be one of {known}."
            raise ValueError(msg)
    reason = None
    if (model is None) == (up == "posterior"):
        reason = "up='posterior' and model belong together"
    elif dispersion is not None and up != "nb":
        reason = "dispersion belongs to up='nb'"
    elif method == "deterministic" and up != "poisson":
        reason = f"method='deterministic' multiplies, so up={up!r} has no meaning"
    elif method == "deterministic" and library == "keep":
        reason = "library='keep' draws molecules, and method='deterministic' leaves fractions of them"
    if reason is not None:
        msg = f"{reason}; change one of them."
        raise ValueError(msg)


def _check_names(adata: AnnData, condition_key: str, base_cell_key: str) -> None:
    if not adata.obs_names.is_unique:
        msg = (
            "obs_names are not unique, so copies could not be traced to their cell; call adata.obs_names_make_unique()."
        )
        raise ValueError(msg)
    for name, key in (("condition_key", condition_key), ("base_cell_key", base_cell_key)):
        if key in adata.obs.columns:
            msg = f"adata.obs has a column {key!r} already; rename it, or pass another {name}."
            raise ValueError(msg)
    if condition_key == base_cell_key:
        msg = f"condition_key and base_cell_key are both {condition_key!r}; they need different names."
        raise ValueError(msg)


def _inverse_dispersion(adata: AnnData, dispersion: float | str | None) -> dict[int, float]:
    """Given values by column of the matrix."""
    if dispersion is None:
        return {}
    if isinstance(dispersion, str):
        if dispersion not in adata.var.columns:
            msg = f"dispersion={dispersion!r} is not in adata.var; it holds {list(adata.var.columns)}."
            raise KeyError(msg)
        values = adata.var[dispersion].to_numpy(dtype=np.float64)
    else:
        values = np.full(adata.n_vars, float(dispersion))
    if not (values > 0).all():
        msg = f"dispersion={dispersion!r} must hold inverse dispersions above 0."
        raise ValueError(msg)
    return dict(enumerate(values.tolist()))


def _check_expressed(chains: Mapping[str, Sequence[EditChain]], before: Mapping[int, NDArray[Any]]) -> None:
    silent: dict[str, None] = {}
    for name, each in chains.items():
        idle = [chain.gene for chain in each if chain.keeps_zeros and not before[chain.column].any()]
        if len(idle) == len(each):
            msg = f"condition {name!r} changes nothing: no cell has a count of {_listed(idle)}. Choose expressed genes."
            raise ValueError(msg)
        silent |= dict.fromkeys(idle)
    if silent:
        msg = f"No cell has a count of {len(silent)} gene(s), which stay as they are: {_listed(list(silent))}."
        warnings.warn(msg, UserWarning, stacklevel=3)


def _listed(names: Sequence[str]) -> str:
    more = "" if len(names) <= _SHOWN else f", … ({len(names) - _SHOWN} more)"
    return ", ".join(repr(str(name)) for name in names[:_SHOWN]) + more


def _largest_factors(chains: Mapping[str, Sequence[EditChain]]) -> dict[int, float]:
    """Largest factor that any condition has for a gene, of the genes that are enlarged."""
    largest: dict[int, float] = {}
    for each in chains.values():
        for chain in each:
            if chain.enlarges:
                largest[chain.column] = max(chain.factor, largest.get(chain.column, 1.0))
    return largest


def _stream(seed: int, *names: str) -> np.random.Generator:
    digest = sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:16], "big")])


def _row(condition: str, chain: EditChain, before: NDArray[Any], after: NDArray[Any]) -> dict[str, Any]:
    return {
        "condition": condition,
        "gene": chain.gene,
        "edit": str(chain),
        "n_cells_changed": int((before != after).sum()),
        "mean_control": float(before.mean(dtype=np.float64)),
        "mean_edited": float(after.mean(dtype=np.float64)),
    }


def _checked_depth(
    copies: list[sparse.csr_matrix], names: Sequence[str], obs_names: pd.Index, library: str, seed: int
) -> list[sparse.csr_matrix]:
    """Copies at one depth if that is wanted, none of them empty if that can be helped."""
    for name, matrix in zip(names, copies, strict=True):
        empty = np.diff(matrix.indptr) == 0
        if not empty.any():
            continue
        what = f"condition {name!r} leaves {int(empty.sum())} cell(s) without any count: {_listed(obs_names[empty])}"
        if library == "keep":
            msg = f"{what}, so library='keep' would empty all their copies. Remove these cells, or use library='free'."
            raise ValueError(msg)
        warnings.warn(f"{what}. Models of counts refuse such cells.", UserWarning, stacklevel=3)
    if library == "free":
        return copies
    return match_totals(copies, [_stream(seed, "depth", name) for name in names])[0]
