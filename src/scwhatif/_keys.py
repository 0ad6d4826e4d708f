"""Every string key the package reads or writes, in one place."""

from __future__ import annotations

from typing import Final


class Key:
    """Namespaces of keys; results of a tool live under its ``key_added`` (default given here)."""

    class obs:  # noqa: N801
        BATCH: Final = "batch"
        BATCH_FACTOR: Final = "batch_factor"
        BASELINE: Final = "baseline"
        CELL_TYPE: Final = "cell_type"
        CONDITION: Final = "condition"
        CRYSTALLINITY: Final = "crystallinity"
        HYDRATION: Final = "hydration"
        LIBRARY_SIZE: Final = "library_size"
        NOISE_SD: Final = "noise_sd"

    class var:  # noqa: N801
        BASELINE: Final = "baseline"
        DISPERSION: Final = "dispersion"
        WATER: Final = "water"
        WAVENUMBER: Final = "wavenumber"

    class layers:  # noqa: N801
        COUNTS: Final = "counts"
        TRUE_MEAN: Final = "true_mean"
        TRUE_RATE: Final = "true_rate"

    class obsm:  # noqa: N801
        LATENT: Final = "X_wi"
        FACTORS: Final = "true_factors"

    class varm:  # noqa: N801
        LOADINGS: Final = "wi_loadings"
        TRUE_LOADINGS: Final = "true_loadings"
        TRUE_BATCH_EFFECT: Final = "true_batch_effect"

    class uns:  # noqa: N801
        KNOCKOUT: Final = "knockout"
        RANK_LATENT: Final = "rank_latent"
        PLACE: Final = "place"
        PSEUDO_PROFILES: Final = "pseudo_profiles"
        TRAVERSE: Final = "traverse"
        ROTATE: Final = "rotated"
        MATCH_GENES: Final = "match_genes"
        RECOVER_COUNTS: Final = "recover_counts"
        SIMULATE_FACTORS: Final = "simulate_factors"
        SIMULATE_SPECTRA: Final = "simulate_spectra"
        SIMULATE_TWO_FACTORS: Final = "simulate_two_factors"
        LATENT_USAGE: Final = "latent_usage"
        SWEEP_BETA: Final = "sweep_beta"
        PARAMS: Final = "params"
