"""What a trained :class:`scwhatif.model.CellLineEnergyModel` says of pairs and cell lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import torch

from scwhatif._validation import check_var_names
from scwhatif.model._cell_line_energy_checks import check_pairs
from scwhatif.model._cell_line_energy_inputs_mixin import shifted
from scwhatif.model._cell_line_energy_rows import PairTable, read_pairs
from scwhatif.model._cell_line_energy_trees import tree_logit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

# pairs from which the environment of a line is read unless told otherwise
DEFAULT_SUPPORT = 256
_CHUNK = 8192
_SMALLEST = 1e-12


class CellLineEnergyPredictionMixin:
    """Probabilities, calls, energies and codes of pairs, of known and of new cell lines."""

    module: Any
    adata: Any
    is_trained_: bool
    threshold_: float
    prior_shift_: float
    backbone: str
    trees_: Any
    trees_weight: float
    _setup: Any
    _normalized: Any
    _tree_inputs: Any
    _tensors: Any

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

    def _read(self, adata: AnnData | None) -> tuple[PairTable, dict[str, torch.Tensor]]:
        if not self.is_trained_:
            msg = "The model is not trained; call train() first."
            raise RuntimeError(msg)
        if adata is None:
            adata = self.adata
        else:
            check_var_names(adata, self.get_var_names(), "the AnnData given to this model")  # type: ignore[attr-defined]
            check_pairs(adata, self._setup, needs_label=False)
        table = read_pairs(adata, self._setup, self.backbone)
        return table, self._tensors(table, self._normalized(table))

    @torch.inference_mode()
    def _encode(self, tensors: dict[str, torch.Tensor], rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Codes and scores of rows, without any support set."""
        parts: list[dict[str, torch.Tensor]] = []
        for start in range(0, len(rows), _CHUNK):
            index = torch.as_tensor(np.asarray(rows[start : start + _CHUNK], dtype=np.int64))
            batch = {key: value[index] for key, value in tensors.items()}
            inferred = self.module.inference(**self.module._get_inference_input(batch))
            score = self.module.generative(inferred["z"])["score"]
            part = {"z": inferred["z"], "score": score}
            if inferred["e"] is not None:
                part["e"] = inferred["e"]
            parts.append({key: value.cpu() for key, value in part.items()})
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    def _evaluate(
        self,
        adata: AnnData | None,
        indices: Sequence[int] | np.ndarray | None,
        support_indices: Sequence[int] | np.ndarray | None,
        n_support: int | None,
        n_draws: int,
        seed: int,
        environment_of: str | None,
        each_draw: bool,  # noqa: FBT001
    ) -> dict[str, Any]:
        """Scores of pairs, and slope, intercept and temperature per draw (or one for all) and environment."""
        if n_draws < 1:
            msg = f"n_draws={n_draws} must be at least 1."
            raise ValueError(msg)
        table, tensors = self._read(adata)
        self._check_environment(environment_of, table)
        rows = np.arange(len(table.lines)) if indices is None else np.arange(len(table.lines))[np.asarray(indices)]
        score = self._encode(tensors, rows)["score"].double().numpy()
        lines = table.lines[rows]
        names = (self.adata if adata is None else adata).obs_names[rows]
        within, code = np.unique(lines, return_inverse=True)
        if environment_of is not None:
            within, code = np.array([environment_of]), np.zeros(len(rows), dtype=np.int64)
        shape = (n_draws if each_draw else 1, len(within))
        slope, intercept, temperature = np.zeros((*shape, score.shape[1])), np.zeros(shape), np.zeros(shape)
        weight = 1.0 if each_draw else 1.0 / n_draws
        for j, line in enumerate(within):
            drawn = self._environments(table, tensors, str(line), support_indices, n_support, n_draws, seed)
            for draw, z_e in enumerate(drawn):
                gain, energy, t = self._line(z_e)
                block = draw if each_draw else 0
                slope[block, j] += weight * gain / t
                intercept[block, j] += -weight * energy / t
                temperature[block, j] += weight * t
        blocks = zip(slope, intercept, strict=True)
        logit = np.stack([(score * of_line[code]).sum(1) + shift[code] for of_line, shift in blocks])
        return {
            "names": names,
            "line": lines,
            "code": code,
            "score": score,
            "slope": slope,
            "intercept": intercept,
            "temperature": temperature,
            "logit": logit,
            "probability": self._probability(logit, table, rows),
        }

    def _check_environment(self, environment_of: str | None, table: PairTable) -> None:
        if environment_of is None:
            return
        if self.module.interaction.kind == "none":
            msg = "interaction='none' reads no environment, so there is none to put pairs into."
            raise ValueError(msg)
        if not bool(self.module.energy_on):
            msg = (
                "The weights are of a warm-up epoch, which reads no environment, so there is none to put pairs into; "
                "train with plan_kwargs={'restore_best': False} to keep the last epoch."
            )
            raise ValueError(msg)
        if environment_of not in table.lines:
            known = np.unique(table.lines).tolist()
            msg = f"environment_of={environment_of!r} is not among the cell lines of the data, {known}."
            raise ValueError(msg)

    def _probability(self, logit: np.ndarray, table: PairTable, rows: np.ndarray) -> np.ndarray:
        """Mean of network and trees on the scale of log-odds."""
        scaled = torch.from_numpy(logit).to(self.module.device, torch.float32)
        probability = self.module.probability(scaled).double().cpu().numpy()
        if self.trees_ is not None:
            odds = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
            inputs = zip(self.trees_, self._tree_inputs(table), strict=True)
            trees = np.mean([tree_logit(fitted, values[rows]) for fitted, values in inputs], axis=0)
            mean = (1 - self.trees_weight) * np.log(odds / (1 - odds)) + self.trees_weight * trees
            probability = 1 / (1 + np.exp(-mean))
        return shifted(probability, self.prior_shift_) if self.prior_shift_ else probability

    @torch.inference_mode()
    def _line(self, z_e: torch.Tensor | None) -> tuple[np.ndarray, float, float]:
        """Gain of every channel, summed energy and temperature in an environment."""
        interaction = self.module.interaction
        if z_e is None:
            return np.ones(interaction.n_channels), 0.0, float(interaction.temperature())
        z_e = z_e.to(self.module.device)
        gain = interaction.gain(z_e)[0].double().cpu().numpy()
        return gain, float(interaction.energy(z_e).sum()), float(interaction.temperature(z_e).reshape(-1)[0])

    def _environments(
        self,
        table: PairTable,
        tensors: dict[str, torch.Tensor],
        line: str,
        support_indices: Sequence[int] | np.ndarray | None,
        n_support: int | None,
        n_draws: int,
        seed: int,
    ) -> list[torch.Tensor | None]:
        """Mean environment code of a line for every draw."""
        if self.module.interaction.kind == "none" or not bool(self.module.energy_on):
            return [None] * n_draws
        given = np.arange(len(table.lines)) if support_indices is None else np.asarray(support_indices)
        pool = given[table.lines[given] == line]
        if not len(pool):
            msg = f"support_indices hold no pair of cell line {line!r}, whose environment is asked for."
            raise ValueError(msg)
        if n_support is None:
            n_drawn = len(pool) if support_indices is not None else min(DEFAULT_SUPPORT, len(pool))
        elif n_support > len(pool):
            msg = f"Cell line {line!r} has {len(pool)} pair(s) to draw n_support={n_support} from; lower n_support."
            raise ValueError(msg)
        else:
            n_drawn = n_support
        drawn: list[torch.Tensor | None] = []
        for draw in range(n_draws):
            # of the line's own stream, so that predicting other lines too changes nothing
            rng = np.random.default_rng([seed, draw, *line.encode()])
            rows = pool if n_drawn == len(pool) else np.sort(rng.choice(pool, n_drawn, replace=False))
            drawn.append(self._encode(tensors, rows)["e"].mean(0, keepdim=True))
        return drawn

    def _fix_gauge(self, training: np.ndarray) -> None:
        """Keep mean and sd of the score over the training pairs."""
        _, tensors = self._read(None)
        score = self._encode(tensors, training)["score"]
        self.module.score_mean.copy_(score.mean(0))
        self.module.score_sd.copy_(score.std(0, correction=0).clamp(min=1e-6))
