"""Every string key the package reads or writes, in one place."""

from __future__ import annotations

from typing import Final


class Key:
    """Namespaces of keys; results of a tool live under its ``key_added`` (default given here)."""

    class obs:  # noqa: N801
        BATCH: Final = "batch"
        CELL_TYPE: Final = "cell_type"
        LIBRARY_SIZE: Final = "library_size"

    class var:  # noqa: N801
        BASELINE: Final = "baseline"
        DISPERSION: Final = "dispersion"

    class layers:  # noqa: N801
        COUNTS: Final = "counts"
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
        PSEUDO_PROFILES: Final = "pseudo_profiles"
        MATCH_GENES: Final = "match_genes"
        RECOVER_COUNTS: Final = "recover_counts"
        SIMULATE_FACTORS: Final = "simulate_factors"
        PARAMS: Final = "params"
