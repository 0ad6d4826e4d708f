"""What :class:`scwhatif.model.MetricEncoder` gives once it is trained, and what that is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from scwhatif._compat import forgetting
from scwhatif.metrics import retrieval_scores
from scwhatif.model._metric_encoder_checks import codes_of, input_of
from scwhatif.model._metric_encoder_rows import dense
from scwhatif.model._metric_encoder_setup_mixin import MetricEncoderSetupMixin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

# rows that are encoded at a time
_CHUNK = 8192


class MetricEncoderEvaluationMixin(MetricEncoderSetupMixin):
    """Embedding of rows, and its comparison with the input."""

    adata: AnnData
    module: Any
    n_latent: int
    validation_indices: Any
    gallery_indices_: NDArray[np.int64] | None
    _validate_anndata: Any

    def get_latent_representation(
        self, adata: AnnData | None = None, *, indices: Sequence[int] | None = None, normalize: bool = False
    ) -> np.ndarray:
        """Embed rows. Before training a residual head gives back its input.

        Parameters
        ----------
        adata
            Rows with the model's input; identities and exams are not needed. Those of the model by default.
        indices
            Positions of the rows to embed; all by default.
        normalize
            Whether to bring rows to length 1. Retrieval by the cosine is the same.

        Returns
        -------
        float32, ``(n_rows, n_latent)``.

        Raises
        ------
        KeyError
            ``adata`` lacks the input.
        ValueError
            Its features are not the model's, or it cannot be embedded.
        """
        z = self._encode(adata, indices, input_only=False)
        return z / np.linalg.norm(z, axis=1, keepdims=True) if normalize else z

    def _encode(
        self, adata: AnnData | None, indices: Sequence[int] | NDArray | None, *, input_only: bool
    ) -> np.ndarray:
        with forgetting(self):
            adata = self._validate_anndata(adata)
        stored, _ = input_of(adata, self._setup)
        rows = np.arange(adata.n_obs) if indices is None else np.asarray(indices)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        training = self.module.training
        self.module.eval()
        try:
            parts = []
            for start in range(0, len(rows), _CHUNK):
                x = torch.from_numpy(dense(stored[rows[start : start + _CHUNK]])).to(self.module.device)
                with torch.inference_mode():
                    z = self.module.transform(x) if input_only else self.module.inference(x)["z"]
                parts.append(z.cpu().numpy())
        finally:
            self.module.train(training)
        return np.concatenate(parts) if parts else np.zeros((0, self.n_latent), dtype=np.float32)

    def get_improvement(
        self,
        *,
        indices: Sequence[int] | None = None,
        n_boot: int = 1000,
        confidence: float = 0.95,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Compare the embedding with its input, by retrieval.

        The validation rows have chosen the epoch, so what they say is a little too good. For a claim, hold out
        identities that take no part (``external_indexing`` of :meth:`train`) and name them here.

        Parameters
        ----------
        indices
            Positions of the rows that look for each other; by default the validation rows, in the gallery they were
            given in training.
        n_boot, confidence, seed
            Of the intervals: resamples of whole identities, size and seed.

        Returns
        -------
        One row for ``rank_1`` and one for ``map``: ``score``, then each with ``_low`` and ``_high`` ``input``, ``head``
        and ``gain`` (head less input, paired), ``n_queries`` and ``n_identities``.

        Raises
        ------
        ValueError
            There are no validation rows, ``n_boot`` or ``confidence`` is out of range, or no row has an answer.
        """
        if n_boot < 1 or not 0 < confidence < 1:
            msg = f"n_boot={n_boot} must be at least 1 and confidence={confidence} between 0 and 1."
            raise ValueError(msg)
        if indices is not None:
            gallery = queries = np.asarray(indices, dtype=np.int64)
        elif self.gallery_indices_ is None:
            msg = "The model has no validation rows; train it, or pass indices."
            raise ValueError(msg)
        else:
            gallery, queries = self.gallery_indices_, np.asarray(self.validation_indices, dtype=np.int64)
        embeddings = {
            name: self._encode(None, gallery, input_only=name == "input").astype(np.float64)
            for name in ("input", "head")
        }
        exam_key = self._setup["exam_key"]
        exam = None if exam_key is None else codes_of(self.adata, exam_key)[gallery]
        return improvement_table(
            embeddings,
            codes_of(self.adata, self._setup["identity_key"])[gallery],
            exam,
            np.flatnonzero(np.isin(gallery, queries)),
            n_boot=n_boot,
            confidence=confidence,
            seed=seed,
        )


def improvement_table(
    embeddings: Mapping[str, NDArray],
    identity: NDArray[np.int64],
    exam: NDArray[np.int64] | None,
    queries: NDArray,
    *,
    n_boot: int,
    confidence: float,
    seed: int,
) -> pd.DataFrame:
    """Compare two embeddings of the same rows by retrieval.

    Parameters
    ----------
    embeddings
        The floor and what is to beat it, by name.
    identity, exam
        Codes; exams may be ``None``.
    queries
        Positions of the rows that ask.
    n_boot, confidence
        Resamples, of whole identities, and size of the interval.
    seed
        Draws the resamples.

    Returns
    -------
    As :meth:`scwhatif.model.MetricEncoder.get_improvement` describes it.
    """
    scores = [retrieval_scores(z, identity, exam=exam, queries=queries, ks=(1,)).dropna() for z in embeddings.values()]
    _, codes, sizes = np.unique(identity[scores[0].index], return_inverse=True, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=n_boot)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]

    def described(values: NDArray) -> tuple[float, float, float]:
        means = (draws @ np.bincount(codes, values)) / (draws @ sizes)
        low, high = np.quantile(means, tails) if len(sizes) > 1 else (np.nan, np.nan)
        return float(values.mean()), float(low), float(high)

    rows = []
    for name, column in (("rank_1", "rank@1"), ("map", "ap")):
        before, after = (each[column].to_numpy() for each in scores)
        row: dict[str, object] = {"score": name}
        for label, values in zip((*embeddings, "gain"), (before, after, after - before), strict=True):
            row |= dict(zip((label, f"{label}_low", f"{label}_high"), described(values), strict=True))
        rows.append(row | {"n_queries": len(before), "n_identities": len(sizes)})
    return pd.DataFrame(rows)
