"""A first what-if on real cells, end to end: train, read the latent space, knock out every gene, decode profiles.

Run ``python examples/demo.py [folder] [--epochs 200]``; tables (CSV) and figures (PNG) go to the folder, by default
``$DEMO_OUT`` or ``demo_output``. Nothing is downloaded: the 700 blood cells come with scanpy.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import scanpy as sc
import scvi

import scwhatif as wi

if TYPE_CHECKING:
    from anndata import AnnData

LABEL = "cell_type"
FDR = 0.05
# floors: the best of as many principal components, independent components and factors
COMPONENTS = ["pc_auc", "ica_auc", "fa_auc"]
# Paul Tol's "muted" scheme and grey: ten colours for all kinds of colour vision.
PALETTE = ["#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499", "#999999"]


def train(adata: AnnData, epochs: int) -> wi.model.BetaLinearSCVI:
    """Fit the model to the counts; a tenth of the cells is held out."""
    wi.model.BetaLinearSCVI.setup_anndata(adata, layer="counts")
    model = wi.model.BetaLinearSCVI(adata, n_latent=10, seed=0)
    model.train(max_epochs=epochs, seed=0, accelerator="cpu", enable_progress_bar=False)
    # axes with the simplest loadings; changes nothing the model predicts
    model.rotate("varimax")
    adata.obsm["X_wi"] = model.get_latent_representation()
    return model


def ask(adata: AnnData, model: wi.model.BetaLinearSCVI) -> None:
    """Put four questions to the model; the answers are written into ``adata``."""
    # Which latent dimension tells which cell type from the rest, and would a gene or a classical component do?
    wi.tl.rank_latent(adata, LABEL)
    # What does each dimension do to each gene?
    wi.tl.loadings(adata, model)
    # What if this gene were knocked out, for all genes, in every cell type?
    wi.tl.knockout(adata, model, groupby=LABEL, progress=False)
    # What is the clean profile of each cell type?
    wi.tl.pseudo_profiles(adata, model, LABEL)


def write_tables(adata: AnnData, out: Path) -> None:
    """Write what the tools found as CSV."""
    ranking, profiles = adata.uns["rank_latent"], adata.uns["pseudo_profiles"]
    ranking["table"].to_csv(out / "rank_latent.csv", index=False)
    ranking["floors"].to_csv(out / "rank_latent_floors.csv", index=False)
    adata.varm["wi_loadings"].to_csv(out / "loadings.csv", index_label="gene")
    adata.uns["knockout"]["by_group"].to_csv(out / "knockout.csv", index=False)
    profiles["markers"].to_csv(out / "pseudo_profile_markers.csv", index=False)
    by_gene = dict(zip(profiles["states"].index, adata.varm["pseudo_profiles"].T, strict=True))
    adata.var[[]].assign(**by_gene).to_csv(out / "pseudo_profiles.csv", index_label="gene")


def draw_figures(adata: AnnData, out: Path) -> None:
    """Draw what the tools found as PNG."""
    sc.pp.neighbors(adata, use_rep="X_wi")
    sc.tl.umap(adata)
    axes = {
        "latent_umap": sc.pl.umap(
            adata, color=LABEL, palette=PALETTE, size=30, title="UMAP of the latent space", frameon=False, show=False
        ),
        "rank_latent": wi.pl.rank_latent(adata, show=False),
        "loadings": wi.pl.loadings(adata, show=False)[0],
        "knockout": wi.pl.knockout(adata, show=False),
        "pseudo_profiles": wi.pl.pseudo_profiles(adata, show=False),
    }
    for name, ax in axes.items():
        ax.figure.savefig(out / f"{name}.png", dpi=150, bbox_inches="tight")


def summarise(adata: AnnData, model: wi.model.BetaLinearSCVI, epochs: int, out: Path) -> str:
    """Tell in ten lines what came out."""
    floors = adata.uns["rank_latent"]["floors"].set_index("group")
    held_out = model.validation_indices
    elbo = float(model.get_elbo(indices=held_out))
    n_active = int((adata.obsm["X_wi"].var(axis=0) > 0.01).sum())
    floors["component_auc"] = floors[COMPONENTS].max(axis=1)
    median = floors[["auc", "chance_auc", "component_auc", "gene_auc"]].median()
    largest = floors["n_cells"].nlargest(4).index
    lines = [
        f"Data     {adata.n_obs} blood cells, {adata.n_vars} genes, {len(floors)} cell types",
        f"Model    BetaLinearSCVI, {epochs} epochs; ELBO of {len(held_out)} held-out cells {elbo:.1f} nats per cell; "
        f"{n_active} of {model.n_latent} dimensions in use",
        f"Markers  best dimension per cell type: median AUC {median['auc']:.2f} (shuffled labels "
        f"{median['chance_auc']:.2f}, best component {median['component_auc']:.2f}, "
        f"best gene {median['gene_auc']:.2f})",
        _row(
            "largest types",
            "dimension, AUC",
            "component",
            "best gene",
            "knockouts that shift it most",
            f"FDR < {FDR:.0%}",
        ),
        *(_cell_type(adata, name) for name in largest),
        "Caution  a knockout shows what the model is sensitive to, not a causal effect; AUCs are not held out",
        f"Files    {len(list(out.glob('*.csv')))} tables and {len(list(out.glob('*.png')))} figures in {out}",
    ]
    return "\n".join(lines)


def _cell_type(adata: AnnData, name: str) -> str:
    floors = adata.uns["rank_latent"]["floors"].set_index("group").loc[name]
    screen = adata.uns["knockout"]["by_group"].query("group == @name")
    found = f"{(screen['padj'] < FDR).sum()} of {screen['padj'].notna().sum()}"
    return _row(
        name,
        f"{floors['best_dimension']} {floors['auc']:.2f}",
        f"{floors[COMPONENTS].max():.2f}",
        f"{floors['gene']} {floors['gene_auc']:.2f}",
        ", ".join(screen.nlargest(4, "shift_norm")["gene"]),
        found,
    )


def _row(name: str, dimension: str, component: str, gene: str, knockouts: str, found: str) -> str:
    return f"  {name:<18}{dimension:<16}{component:<11}{gene:<13}{knockouts:<32}{found}"


def run(out: Path, epochs: int) -> str:
    """Train, ask, write and draw; return the summary."""
    out.mkdir(parents=True, exist_ok=True)
    scvi.settings.seed = 0
    # so few cells do not keep two threads busy
    scvi.settings.num_threads = 1
    adata = wi.datasets.pbmc68k()
    model = train(adata, epochs)
    ask(adata, model)
    write_tables(adata, out)
    draw_figures(adata, out)
    return summarise(adata, model, epochs, out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path, default=Path(os.environ.get("DEMO_OUT", "demo_output")))
    parser.add_argument("--epochs", type=int, default=200)
    arguments = parser.parse_args()
    # what Lightning says of hardware and upgrades is no part of the result
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning|scanpy|umap|sklearn")
    start = time.perf_counter()
    print(run(arguments.out, arguments.epochs))
    print(f"\nDone in {time.perf_counter() - start:.0f} s.")
