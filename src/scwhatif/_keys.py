"""Every string key the package reads or writes, in one place."""

from __future__ import annotations

from typing import Final


class Key:
    """Namespaces of keys; results of a tool live under its ``key_added`` (default given here)."""

    class obs:  # noqa: N801
        BATCH: Final = "batch"
        BATCH_FACTOR: Final = "batch_factor"
        BASE_CELL: Final = "base_cell"
        BASELINE: Final = "baseline"
        CELL_LINE: Final = "cell_line"
        CELL_TYPE: Final = "cell_type"
        CHROM: Final = "chrom"
        CONDITION: Final = "condition"
        CRYSTALLINITY: Final = "crystallinity"
        DISTANCE: Final = "distance"
        DONOR: Final = "donor"
        ENHANCER_END: Final = "enhancer_end"
        ENHANCER_START: Final = "enhancer_start"
        HYDRATION: Final = "hydration"
        LABEL: Final = "label"
        LIBRARY_SIZE: Final = "library_size"
        LINEAGE: Final = "lineage"
        NOISE_SD: Final = "noise_sd"
        PROMOTER_END: Final = "promoter_end"
        PROMOTER_START: Final = "promoter_start"
        TRUE_PROBABILITY: Final = "true_probability"

    class var:  # noqa: N801
        BASELINE: Final = "baseline"
        CIS_WEIGHT: Final = "cis_weight"
        DISPERSION: Final = "dispersion"
        GENE_SYMBOL: Final = "gene_symbol"
        KIND: Final = "kind"
        MARK: Final = "mark"
        PARENT: Final = "parent"
        REGION: Final = "region"
        ROLE: Final = "role"
        WATER: Final = "water"
        WAVENUMBER: Final = "wavenumber"

    class layers:  # noqa: N801
        COUNTS: Final = "counts"
        TRUE_MEAN: Final = "true_mean"
        TRUE_RATE: Final = "true_rate"

    class obsm:  # noqa: N801
        LATENT: Final = "X_wi"
        FACTORS: Final = "true_factors"
        SEQUENCE: Final = "pair_sequence"
        TRUE_ACTIVITY: Final = "true_activity"
        TRUE_UTILITY: Final = "true_utility"

    class varm:  # noqa: N801
        LOADINGS: Final = "wi_loadings"
        TRUE_LOADINGS: Final = "true_loadings"
        TRUE_BATCH_EFFECT: Final = "true_batch_effect"
        TRUE_DRIVER_EFFECT: Final = "true_driver_effect"
        TRUE_DOUBLE_KNOCKOUT: Final = "true_double_knockout"

    class varp:  # noqa: N801
        TRUE_KNOCKOUT: Final = "true_knockout"
        TRUE_NETWORK: Final = "true_network"

    class uns:  # noqa: N801
        CROSS_VALIDATE: Final = "cross_validate"
        KNOCKOUT: Final = "knockout"
        SCREEN: Final = "screen"
        EPISTASIS: Final = "epistasis"
        RANK_RETRIEVAL: Final = "rank_retrieval"
        RANK_LATENT: Final = "rank_latent"
        PLACE: Final = "place"
        PSEUDO_PROFILES: Final = "pseudo_profiles"
        TRAVERSE: Final = "traverse"
        ROTATE: Final = "rotated"
        MATCH_GENES: Final = "match_genes"
        PAIRS_FROM_TABLE: Final = "pairs_from_table"
        PERTURB: Final = "perturb"
        AXIS: Final = "axis"
        LATENT_EDIT: Final = "latent_edit"
        CROSS_CONTEXT_VALIDATE: Final = "cross_context_validate"
        DECODER_FLOW: Final = "decoder_flow"
        FUSION_DELETION: Final = "fusion_deletion"
        GENE_EFFECTS: Final = "gene_effects"
        GENE_KNOCKOUT: Final = "gene_knockout"
        MASTER_REGULATORS: Final = "master_regulators"
        PTM_DEPENDENCY: Final = "ptm_dependency"
        STORM_LEADER: Final = "storm_leader"
        RESISTANCE_DRIVERS: Final = "resistance_drivers"
        PERTURB_COUNTS: Final = "perturb_counts"
        RECOVER_COUNTS: Final = "recover_counts"
        SIMULATE_FACTORS: Final = "simulate_factors"
        SIMULATE_FLOW: Final = "simulate_flow"
        SIMULATE_NETWORK: Final = "simulate_network"
        SIMULATE_PAIRS: Final = "simulate_pairs"
        SIMULATE_SPECTRA: Final = "simulate_spectra"
        SIMULATE_TWO_FACTORS: Final = "simulate_two_factors"
        EMBEDDING_HEALTH: Final = "embedding_health"
        ENRICH_LOADINGS: Final = "enrich_loadings"
        LATENT_CLASSIFIER: Final = "latent_classifier"
        LATENT_USAGE: Final = "latent_usage"
        SWEEP_BETA: Final = "sweep_beta"
        PARAMS: Final = "params"
