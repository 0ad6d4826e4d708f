"""What one perturbation does to every cell."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, get_args

import numpy as np

from scwhatif._keys import Key
from scwhatif._provenance import params
from scwhatif.tl._decoded_change import check_readout, decoded_readout
from scwhatif.tl._edited_cells import Library, check_changed, encode_edited
from scwhatif.tl._gaussian_posterior import factorised_posterior
from scwhatif.tl._latent_change import CellGroups, latent_change, write_change
from scwhatif.tl._latent_state import checked_decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from anndata import AnnData
    from scvi.model.base import BaseModelClass

    from scwhatif.perturbation import Perturbation
    from scwhatif.tl._edited_cells import EditedCells


def perturb(
    adata: AnnData,
    model: BaseModelClass,
    perturbation: Perturbation | str | Mapping[str, str | float],
    *,
    sets: Mapping[str, Iterable[str]] | None = None,
    library: Library = "original",
    decode: bool = True,
    groupby: str | None = None,
    n_top: int = 25,
    layer_added: str | None = None,
    seed: int = 0,
    key_added: str = Key.uns.PERTURB,
    progress: bool = True,
    copy: bool = False,
) -> AnnData | None:
    """Carry out one perturbation in every cell: encode the edited cell, move its code, decode what the model expects.

    Feature edits are carried out on the registered counts and the edited cells are encoded by the model's own encoder,
    exactly; then come edits of latent dimensions; then both codes are decoded, each cell with its own batch and
    covariates. The result is the **response of the model**, not a causal effect: the encoder attributes what it reads
    to a cell state, and the decoder tells what such cells express.

    The decoded change of a feature that was itself edited only says that the model noticed. What the perturbation
    does beyond itself is the change of features that were *not* edited, which is why these are listed apart.

    Parameters
    ----------
    adata
        The model's data, or data like it.
    model
        A trained model of the scvi-tools kind that :func:`scwhatif.tl.decode` decodes.
    perturbation
        A :class:`scwhatif.Perturbation`, or its text: ``"TP53:ko + MYC:x2"``, ``"z3:+2"``, or both kinds together.
    sets
        Gene sets by name, for sets named in the text.
    library
        ``"original"``: cells are decoded with the library size they had. ``"perturbed"``: with that of the edited
        counts. ``"renorm"``: all counts of an edited cell are scaled so that its total stays, which changes its code
        too.
    decode
        Whether to decode; without, only codes are compared.
    groupby
        Column of ``obs`` for whose groups results are given too.
    n_top
        Number of features listed per group, of those edited and of those not.
    layer_added
        Name of a layer for the decoded features of every perturbed cell; ``None`` keeps none, as it is dense.
    seed
        Seed of ``thin``, whose draws are those of :func:`scwhatif.tl.screen`, and of the cells that outliers are
        compared with where there are more than 20 000.
    key_added
        Prefix of everything written.
    progress
        Whether to show progress bars, in the style of ``scvi.settings.progress_bar_style``.
    copy
        Whether to return a copy instead of writing into ``adata``.

    Returns
    -------
    ``None``, or the copy, with

    ``obsm["perturb_shift"]`` : array (``n_obs`` × ``n_latent``), float32
        Change of the posterior mean, in the axes that the model reports; exactly 0 for cells that are not changed.
    ``obs["perturb_norm"]`` : float64
        Its length.
    ``obs["perturb_distance"]`` : float64
        Its length in units of the cell's own posterior standard deviations (diagonal Mahalanobis distance).
    ``obs["perturb_kl"]`` : float64
        Divergence of the new from the old posterior in nats.
    ``obs["perturb_outlier"]`` : bool
        Whether the new code lies out of distribution: farther from its nearest neighbours among the unedited cells
        than 99.5 % of these.
    ``layers[layer_added]`` : array (``n_obs`` × ``n_vars``), float32
        Only with ``layer_added``: what the model expects of every cell after.
    ``uns["perturb"]["by_group"]`` : DataFrame
        One row per group (category; ``"all"`` first): ``n_cells``, ``n_changed``; ``shift_norm`` (length of the mean
        shift over the group); ``distance``, ``kl`` and ``outlier_share`` (means over the cells changed), and
        ``outlier_share_before`` (of the same cells unedited: its floor).
    ``uns["perturb"]["genes"]`` : DataFrame
        Only with ``decode``. One row per group and feature: ``group`` (category), ``gene``, ``edited`` (bool),
        ``before``, ``after`` (expected counts or values, mean over all cells of the group), ``log2_fold_change`` with
        one count in ten thousand added to both (``difference`` for continuous features). In each group the ``n_top``
        features that change most come first, then as many of those edited.
    ``uns["perturb"]["params"]`` : dict
        Arguments, ``pseudo_count`` (what is added to counts), ``plan`` (how cells were encoded),
        ``outlier_threshold``, versions, model class and hash of its weights.

    Raises
    ------
    KeyError
        A feature is not in ``adata`` (the message offers close matches), or ``groupby`` not in ``obs``.
    TypeError
        The model cannot be decoded from a latent code, or has no Gaussian posterior.
    ValueError
        The perturbation changes nothing, or hides a modality or swaps a context; the model is not trained; features
        are edited and the data are minified; ``adata`` has other features than the model; a latent dimension does not
        exist; ``library`` does not go with the data; a setting is out of range.

    Examples
    --------
    >>> import scwhatif as wi
    >>> adata = wi.datasets.simulate_factors(100, 50, 4)
    >>> wi.model.BetaLinearSCVI.setup_anndata(adata)
    >>> model = wi.model.BetaLinearSCVI(adata, n_latent=3, seed=0)
    >>> model.train(max_epochs=1, seed=0, enable_progress_bar=False)
    >>> wi.tl.perturb(adata, model, "{gene_0,gene_1}:ko + z1:+1", progress=False)
    >>> adata.obsm["perturb_shift"].shape
    (100, 3)
    >>> sorted(adata.uns["perturb"])
    ['by_group', 'genes', 'params']
    """
    from scvi.utils import track

    spec = _read(perturbation, sets)
    if library not in get_args(Library):
        msg = f"library={library!r} must be one of {get_args(Library)}."
        raise ValueError(msg)
    check_readout(n_top, decode=decode, layer_added=layer_added)
    decoder = checked_decoder(adata, model)
    # both name what does not exist before anything is encoded
    spec.latent_edits(decoder.plan.n_latent)
    columns = np.unique([column for column, _ in spec.feature_edits(adata.var_names)]).astype(np.int64)
    groups = CellGroups.read(adata, groupby)
    posterior = factorised_posterior(model, adata)
    bar = partial(track, disable=not progress)

    edited: EditedCells | None = None
    if "feature" in spec.kinds:
        encoding = partial(bar, description="Encoding")
        edited = encode_edited(adata, model, spec, library=library, seed=seed, track=encoding)
        check_changed(edited, spec)
    change = latent_change(posterior, edited, spec.apply_latent)
    if not change.changed.any():
        msg = f"{spec} moves no cell in the latent space of this model."
        raise ValueError(msg)
    result = {}
    decoded = None
    if decode:
        result["genes"], decoded = decoded_readout(
            adata,
            model,
            decoder,
            change,
            groups,
            columns=columns,
            new_total=edited.new_total if edited is not None and library == "perturbed" else None,
            n_top=n_top,
            keep_cells=layer_added is not None,
            track=partial(bar, description="Decoding"),
        )

    target = adata.copy() if copy else adata
    result["by_group"], outliers = write_change(target, key_added, change, groups, seed=seed)
    if layer_added is not None and decoded is not None:
        target.layers[layer_added] = decoded.cells
    recorded = params(
        model,
        perturbation=str(spec),
        library=library,
        decode=decode,
        groupby=groupby,
        n_top=n_top,
        layer_added=layer_added,
        seed=seed,
        plan=None if edited is None else edited.kind,
        pseudo_count=None if decoded is None else decoded.pseudo_count,
        **outliers,
    )
    target.uns[key_added] = {Key.uns.PARAMS: recorded, **result}
    return target if copy else None


def _read(
    perturbation: Perturbation | str | Mapping[str, str | float], sets: Mapping[str, Iterable[str]] | None
) -> Perturbation:
    from scwhatif.perturbation import Perturbation

    spec = Perturbation.coerce(perturbation, sets=sets)
    if not spec:
        msg = "the perturbation is empty; write such as 'TP53:ko' or 'z3:+2'."
        raise ValueError(msg)
    for edit in spec:
        if edit.kind not in ("feature", "latent"):
            msg = (
                f"{edit} is an edit of a {edit.kind}, which no model with one latent code for one matrix carries out; "
                "only edits of features and of latent dimensions can be."
            )
            raise ValueError(msg)
    return spec
