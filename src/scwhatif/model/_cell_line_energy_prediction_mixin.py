"""What a trained :class:`scwhatif.model.CellLineEnergyModel` says of pairs and cell lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData


class CellLineEnergyPredictionMixin:
    """Probabilities, calls, energies and codes of pairs, of known and of new cell lines."""

    module: Any
    threshold_: float
    _read: Any
    _encode: Any
    _evaluate: Any

    def predict_proba(
        self,
        adata: AnnData | None = None,
        *,
        indices: Sequence[int] | np.ndarray | None = None,
        support_indices: Sequence[int] | np.ndarray | None = None,
        n_support: int | None = None,
        n_draws: int = 1,
        seed: int = 0,
        environment_of: str | None = None,
        each_draw: bool = False,
    ) -> np.ndarray:
        """Probability that pairs interact; labels are not read.

        Parameters
        ----------
        adata
            Pairs with the features of the model, of any cell lines; by default the model's own.
        indices
            Positions of the pairs to predict; all by default.
        support_indices
            Positions of the pairs from which the environment of each line is read; by default drawn from all pairs of
            the line in ``adata``.
        n_support
            Pairs per draw; by default 256, or all where a line has fewer.
        n_draws
            Draws over which logits are averaged.
        seed
            Seeds the draws.
        environment_of
            Cell line whose environment all pairs are put into; by default each stays in that of its own line. The
            features of the pairs are those of their own line all the same, and so are the trees.
        each_draw
            Give every draw of the support on its own, and do not average.

        Returns
        -------
        ``(n_pairs,)``, or ``(n_draws, n_pairs)`` with ``each_draw``, float64.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            Features are not the model's, a line has no, or too few, support pairs, ``n_draws`` is not positive, or
            there is no such line, or no environment at all, to put pairs into.
        """
        found = self._evaluate(adata, indices, support_indices, n_support, n_draws, seed, environment_of, each_draw)
        return found["probability"] if each_draw else found["probability"][0]

    def predict(self, adata: AnnData | None = None, **kwargs: Any) -> np.ndarray:
        """Call pairs at the threshold that was set on the validation pairs (``threshold_``).

        Parameters
        ----------
        adata
            As in :meth:`predict_proba`.
        **kwargs
            As in :meth:`predict_proba`.

        Returns
        -------
        ``(n_pairs,)``, int64, 0 or 1.
        """
        return (self.predict_proba(adata, **kwargs) >= self.threshold_).astype(np.int64)

    def get_energies(
        self,
        adata: AnnData | None = None,
        *,
        indices: Sequence[int] | np.ndarray | None = None,
        support_indices: Sequence[int] | np.ndarray | None = None,
        n_support: int | None = None,
        n_draws: int = 1,
        seed: int = 0,
        environment_of: str | None = None,
        each_draw: bool = False,
    ) -> pd.DataFrame:
        r"""Score of every pair and energy of its line, in the gauge in which scores have mean 0 and sd 1 in training.

        Scores, energies, :math:`\lambda` and :math:`T` can be rescaled and shifted against each other without any
        change in a prediction; the training pairs fix scale and origin. Even so :math:`R`, :math:`\lambda` and
        :math:`T` are identified only from three lines on, and slope and intercept always.

        Parameters
        ----------
        adata, indices, support_indices, n_support, n_draws, seed, environment_of, each_draw
            As in :meth:`predict_proba`.

        Returns
        -------
        A row per pair: ``cell_line``, ``U``, ``R``, ``lambda``, ``T``, ``slope`` :math:`(1 + \lambda R) / T`,
        ``intercept`` :math:`-R / T`, ``logit``, and ``probability``, in which the trees take part too. With several
        channels ``U_0``, ``slope_0`` … and one intercept, which is all that is identified. With ``each_draw`` a row
        per draw and pair, and ``draw`` in front.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            As in :meth:`predict_proba`.
        """
        found = self._evaluate(adata, indices, support_indices, n_support, n_draws, seed, environment_of, each_draw)
        blocks = [self._energy_table(found, block) for block in range(len(found["logit"]))]
        if not each_draw:
            return blocks[0]
        for draw, block in enumerate(blocks):
            block.insert(0, "draw", draw)
        return pd.concat(blocks)

    def _energy_table(self, found: dict[str, Any], block: int) -> pd.DataFrame:
        """What was found in one draw, or over all of them, in the gauge of the training pairs."""
        mean, sd = (getattr(self.module, f"score_{name}").cpu().numpy().astype(np.float64) for name in ("mean", "sd"))
        score, of_line = found["score"], found["slope"][block, found["code"]]
        slope = of_line * sd
        intercept = found["intercept"][block, found["code"]] + (of_line * mean).sum(1)
        score = (score - mean) / sd
        columns: dict[str, Any] = {"cell_line": found["line"]}
        interaction = self.module.interaction
        if interaction.n_channels > 1:
            columns |= {f"U_{k}": score[:, k] for k in range(score.shape[1])}
            columns |= {f"slope_{k}": slope[:, k] for k in range(score.shape[1])}
        else:
            columns["U"] = score[:, 0]
            if interaction.kind == "scalar":
                coupling = float(interaction.coupling.detach().cpu()[0])
                # the two steps of the gauge: shift the score by -mean, then divide by sd
                turned = 1.0 - coupling * float(mean[0])
                temperature = found["temperature"][block, found["code"]] * turned / float(sd[0])
                columns |= {
                    "R": -intercept * temperature,
                    "lambda": coupling / turned * float(sd[0]),
                    "T": temperature,
                }
            columns["slope"] = slope[:, 0]
        columns |= {
            "intercept": intercept,
            "logit": found["logit"][block],
            "probability": found["probability"][block],
        }
        return pd.DataFrame(columns, index=found["names"])

    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        *,
        which: Literal["invariant", "environment"] = "invariant",
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Codes of pairs.

        Parameters
        ----------
        adata
            Pairs with the features of the model; by default the model's own.
        which
            ``"invariant"``: the code from which the score is read; ``"environment"``: the code whose mean over a
            support set describes a cell line.
        indices
            Positions of the pairs; all by default.

        Returns
        -------
        ``(n_pairs, n_latent)`` or ``(n_pairs, n_environment)``, float32.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            ``which`` is unknown, or the model has no environment.
        """
        if which not in ("invariant", "environment"):
            msg = f"which={which!r} is not 'invariant' or 'environment'."
            raise ValueError(msg)
        if which == "environment" and not self.module.uses_environment:
            msg = "interaction='none' reads no environment."
            raise ValueError(msg)
        _, tensors = self._read(adata)
        rows = np.arange(len(next(iter(tensors.values())))) if indices is None else np.asarray(indices)
        return self._encode(tensors, rows)["z" if which == "invariant" else "e"].numpy()
