"""The CCLE layers as the model takes them: complete lines, and the gene of every antibody."""

from __future__ import annotations

import re
from pathlib import Path

import mudata as md

LAYERS = ("drivers", "cna", "rna", "protein", "phospho_st", "phospho_y", "metabolome")
TARGETS = ("rna", "protein", "phospho_st", "phospho_y", "metabolome")
SETUP = {
    "others": ["cna"],
    "rna": "rna",
    "protein": "protein",
    "ptm": ["phospho_st", "phospho_y"],
    "metabolome": "metabolome",
    "categorical_covariate_keys": ["lineage"],
}
# antibodies whose name, in capitals and without the site, is not the symbol of the gene
ANTIBODY_GENE = {
    "Akt": "AKT1;AKT2;AKT3",
    "AMPK_alpha": "PRKAA1",
    "AMPK": "PRKAA1",
    "4E-BP1": "EIF4EBP1",
    "53BP1": "TP53BP1",
    "ACC1": "ACACA",
    "ACC": "ACACA",
    "alpha-Catenin": "CTNNA1",
    "B-Raf": "BRAF",
    "C-Raf(BD610151)": "RAF1",
    "C-Raf(MP05-739)": "RAF1",
    "C-Raf": "RAF1",
    "A-Raf": "ARAF",
    "Bap1 c-4": "BAP1",
    "Bcl-2": "BCL2",
    "Bcl-xL": "BCL2L1",
    "beta-Catenin": "CTNNB1",
    "beta Actin": "ACTB",
    "c-Kit": "KIT",
    "c-Met": "MET",
    "c-Myc": "MYC",
    "Caspase-8": "CASP8",
    "CD20": "MS4A1",
    "CD31": "PECAM1",
    "CD49b": "ITGA2",
    "Chk1": "CHEK1",
    "Chk2": "CHEK2",
    "cIAP": "BIRC3",
    "Cyclin_B1": "CCNB1",
    "Cyclin_D1": "CCND1",
    "Cyclin_E1": "CCNE1",
    "Cyclin_E2": "CCNE2",
    "E-Cadherin": "CDH1",
    "N-Cadherin": "CDH2",
    "P-Cadherin": "CDH3",
    "ER-alpha": "ESR1",
    "ERK2": "MAPK1",
    "FOXO3a": "FOXO3",
    "GSK-3-BETA": "GSK3B",
    "GSK3-alpha-beta": "GSK3A;GSK3B",
    "GSK3": "GSK3B",
    "HER2": "ERBB2",
    "HER3": "ERBB3",
    "Heregulin": "NRG1",
    "JNK2": "MAPK9",
    "JNK": "MAPK8;MAPK9",
    "Ku80": "XRCC5",
    "Lck": "LCK",
    "MDMX_MDM4(BetIHC-00108)": "MDM4",
    "MEK1": "MAP2K1",
    "Mre11": "MRE11",
    "mTOR": "MTOR",
    "N-Ras": "NRAS",
    "Notch1": "NOTCH1",
    "p14 Arf(BetA300-340A)": "CDKN2A",
    "p21": "CDKN1A",
    "p27": "CDKN1B",
    "p38 alpha MAPK": "MAPK14",
    "p38_MAPK": "MAPK14",
    "p38": "MAPK14",
    "p53": "TP53",
    "p62 Lck ligand": "SQSTM1",
    "p70S6K": "RPS6KB1",
    "p90RSK": "RPS6KA1",
    "RSK1-2-3": "RPS6KA1",
    "PAI-1": "SERPINE1",
    "PI3K-p110-alpha": "PIK3CA",
    "PI3K-p85": "PIK3R1",
    "PKC-alpha": "PRKCA",
    "PKC-pan_BetaII": "PRKCB",
    "PKC-delta": "PRKCD",
    "PR": "PGR",
    "Rb": "RB1",
    "Smad1": "SMAD1",
    "Smad3": "SMAD3",
    "Smad4": "SMAD4",
    "Src": "SRC",
    "STAT5-alpha": "STAT5A",
    "Syk": "SYK",
    "TAZ": "WWTR1",
    "TTF1": "NKX2-1",
    "Tuberin": "TSC2",
    "VEGFR2": "KDR",
    "YAP": "YAP1",
    "YB-1": "YBX1",
    "MAPK": "MAPK1;MAPK3",
    "NF-kB-p65": "RELA",
    "S6": "RPS6",
    "Shc": "SHC1",
    "SHP-2": "PTPN11",
    "14-3-3_epsilon": "YWHAE",
    "Bad": "BAD",
    "c-Jun": "JUN",
    "PRAS40": "AKT1S1",
    "PDK1": "PDPK1",
    "AR": "AR",
    "Bim(CST2933)": "BCL2L11",
    "Bim(EP1036)": "BCL2L11",
    "Rictor": "RICTOR",
    "FRA1": "FOSL1",
    "Myosin IIa pS1943": "MYH9",
    "Caveolin-1": "CAV1",
    "XBP1": "XBP1",
    "Transglutaminase": "TGM2",
    "Stathmin": "STMN1",
    "Paxillin": "PXN",
    "Annexin 1": "ANXA1",
    "Fibronectin": "FN1",
    "Claudin-7": "CLDN7",
}


def antibody_gene(name: str) -> str:
    """Gene of an antibody: without its caution mark and without its site."""
    bare = re.sub(r"_Caution$", "", re.sub(r"(_p[STY]\d+.*)$", "", re.sub(r"_Caution$", "", name))).strip()
    return ANTIBODY_GENE.get(bare, bare.upper())


def driver_gene(name: str) -> str:
    """Gene of a driver; both of a fusion."""
    return "BCR;ABL1" if name.startswith("BCR") else name.split("_")[0]


def read_ccle(folder: Path, *, core: bool = True, layers: tuple[str, ...] = LAYERS) -> md.MuData:
    """Layers with a gene for every feature but metabolites, and the lineage of every line.

    ``core`` keeps the 494 lines that have all layers, sorted by name.
    """
    whole = md.read_h5mu(Path(folder) / "ccle" / "ccle_lpm.h5mu")
    with md.set_options(pull_on_update=False):
        mdata = md.MuData({name: whole[name] for name in layers})
        names = sorted(whole.obs_names[whole.obs["core"].astype(bool)]) if core else list(mdata.obs_names)
        mdata = mdata[names].copy()
    mdata.obs["lineage"] = whole.obs.loc[names, "Site_Primary"].astype(str).astype("category")
    genes = {"drivers": driver_gene} | dict.fromkeys(("protein", "phospho_st", "phospho_y"), antibody_gene)
    for name in set(layers) - {"metabolome", "methylation"}:
        mdata[name].var["gene_symbol"] = [genes.get(name, str)(each) for each in mdata[name].var_names]
    return mdata
