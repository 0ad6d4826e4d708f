"""The order of the layers along the flow, and which features share a gene across them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scwhatif.nn import cis_links

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from mudata import MuData


def as_list(names: Sequence[str]) -> list[str]:
    """A single name as a list of one."""
    return [names] if isinstance(names, str) else list(names)


def flow_stages(setup: Mapping[str, Any]) -> list[list[str]]:
    """Modalities by stage, from the arguments of ``setup_mudata``."""
    single = {key: [] if setup[key] is None else [setup[key]] for key in ("drivers", "rna", "protein", "metabolome")}
    return [
        single["drivers"],
        as_list(setup["others"]),
        single["rna"],
        single["protein"],
        as_list(setup["ptm"]),
        single["metabolome"],
    ]


def flow_order(setup: Mapping[str, Any]) -> list[str]:
    """Modalities in the order of the flow."""
    return [name for stage in flow_stages(setup) for name in stage]


def gene_symbols(mdata: MuData, name: str, column: str | None) -> list[str | None]:
    """Gene of every feature of a modality, ``None`` where the column or the entry is missing."""
    if column is None or column not in mdata[name].var:
        return [None] * mdata[name].n_vars
    return [gene if isinstance(gene, str) else None for gene in mdata[name].var[column]]


def decoder_links(mdata: MuData, setup: Mapping[str, Any]) -> dict[tuple[str, str], torch.Tensor]:
    """Same-gene parents from earlier stages; binary layers reach the others through the latent state."""
    stage = {name: place for place, names in enumerate(flow_stages(setup)) for name in names}
    binary = {setup["drivers"], *(name for name, kind in setup["likelihoods"].items() if kind == "bernoulli")}
    links = {}
    for target in stage:
        for parent in stage:
            if stage[parent] < stage[target] and parent not in binary:
                symbols = (gene_symbols(mdata, name, setup["cis"]) for name in (target, parent))
                found = cis_links(*symbols)
                if (found >= 0).any():
                    links[target, parent] = found
    return links
