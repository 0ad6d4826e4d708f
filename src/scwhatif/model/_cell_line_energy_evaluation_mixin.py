"""How :class:`scwhatif.model.CellLineEnergyModel` gets from pairs and environments to probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from scwhatif._validation import check_var_names
from scwhatif.model._cell_line_energy_checks import check_lengths, check_pairs
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


class ScoredPairs(NamedTuple):
    """Pairs and all that is said of them whatever their environment.

    Attributes
    ----------
    table, tensors
        All pairs that were given, and what the network reads of them.
    rows
        Positions of the pairs that are asked about.
    score
        Their scores, ``(n_pairs, n_channels)``.
    trees
        Their logits by the trees, ``(n_pairs,)``, or ``None`` without trees.
    """

    table: PairTable
    tensors: dict[str, torch.Tensor]
    rows: np.ndarray
    score: np.ndarray
    trees: np.ndarray | None


class Environments(NamedTuple):
    """What environments make of a score: slope, intercept and temperature.

    Attributes
    ----------
    slope
        ``(n_draws, n_environments, n_channels)``.
    intercept, temperature
        ``(n_draws, n_environments)``.
    """

    slope: np.ndarray
    intercept: np.ndarray
    temperature: np.ndarray

    def mean(self) -> Environments:
        """Mean over draws, as a single one."""
        return Environments(*(each.mean(0, keepdims=True) for each in self))

    def logit(self, score: np.ndarray, code: np.ndarray) -> np.ndarray:
        """Logits of pairs, each in one of the environments.

        Parameters
        ----------
        score
            ``(n_pairs, n_channels)``.
        code
            Environment of every pair.

        Returns
        -------
        ``(n_draws, n_pairs)``.
        """
        blocks = zip(self.slope, self.intercept, strict=True)
        return np.stack([(score * of_line[code]).sum(1) + shift[code] for of_line, shift in blocks])


class CellLineEnergyEvaluationMixin:
    """Reads pairs, scores them once, and puts them into environments."""

    module: Any
    adata: Any
    is_trained_: bool
    prior_shift_: float
    backbone: str
    trees_: Any
    trees_weight: float
    _setup: Any
    _normalized: Any
    _tree_inputs: Any
    _tensors: Any

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
        if table.sequence is not None:
            encoder = self.module.encoder
            check_lengths(
                table.sequence.shape[1], self._setup["sequence_key"], encoder.enhancer_length, encoder.promoter_length
            )
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
        pairs = self._score_pairs(table, tensors, indices)
        lines = table.lines[pairs.rows]
        within, code = np.unique(lines, return_inverse=True)
        if environment_of is not None:
            within, code = np.array([environment_of]), np.zeros(len(lines), dtype=np.int64)
        found = self._environments(table, tensors, within, support_indices, n_support, n_draws, seed)
        found = found if each_draw else found.mean()
        logit = found.logit(pairs.score, code)
        return {
            "names": (self.adata if adata is None else adata).obs_names[pairs.rows],
            "line": lines,
            "code": code,
            "score": pairs.score,
            "slope": found.slope,
            "intercept": found.intercept,
            "temperature": found.temperature,
            "logit": logit,
            "probability": self._probability(logit, pairs.trees),
        }

    def _probabilities_in(
        self,
        adata: AnnData,
        rows: np.ndarray,
        environments: Sequence[str],
        *,
        n_support: int | None,
        n_draws: int,
        seed: int,
    ) -> dict[str | None, tuple[np.ndarray, np.ndarray]]:
        """Probability of pairs in their own line (``None``) and in others, over all draws and draw by draw.

        Pairs are scored once, and each environment is read once.
        """
        table, tensors = self._read(adata)
        pairs = self._score_pairs(table, tensors, rows)
        names, code = np.unique(np.concatenate([table.lines[pairs.rows], environments]), return_inverse=True)
        drawn = self._environments(table, tensors, names, None, n_support, n_draws, seed)
        own, others = code[: len(pairs.rows)], code[len(pairs.rows) :]
        found: dict[str | None, tuple[np.ndarray, np.ndarray]] = {}
        codes = [own, *(np.full(len(own), other) for other in others)]
        for name, at in zip([None, *environments], codes, strict=True):
            logits = (each.logit(pairs.score, at) for each in (drawn.mean(), drawn))
            mean, draws = (self._probability(logit, pairs.trees) for logit in logits)
            found[name] = mean[0], draws
        return found

    def _score_pairs(
        self,
        table: PairTable,
        tensors: dict[str, torch.Tensor],
        indices: Sequence[int] | np.ndarray | None,
    ) -> ScoredPairs:
        rows = np.arange(len(table.lines)) if indices is None else np.arange(len(table.lines))[np.asarray(indices)]
        score = self._encode(tensors, rows)["score"].double().numpy()
        return ScoredPairs(table, tensors, rows, score, self._tree_logits(table, rows))

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

    def _tree_logits(self, table: PairTable, rows: np.ndarray) -> np.ndarray | None:
        """Mean logit of the sets of trees, ``None`` without any."""
        if self.trees_ is None:
            return None
        inputs = zip(self.trees_, self._tree_inputs(table), strict=True)
        return np.mean([tree_logit(fitted, values[rows]) for fitted, values in inputs], axis=0)

    def _probability(self, logit: np.ndarray, trees: np.ndarray | None) -> np.ndarray:
        """Mean of network and trees on the scale of log-odds."""
        scaled = torch.from_numpy(logit).to(self.module.device, torch.float32)
        probability = self.module.probability(scaled).double().cpu().numpy()
        if trees is not None:
            odds = np.clip(probability, _SMALLEST, 1 - _SMALLEST)
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
        lines: Sequence[str] | np.ndarray,
        support_indices: Sequence[int] | np.ndarray | None,
        n_support: int | None,
        n_draws: int,
        seed: int,
    ) -> Environments:
        """Slope, intercept and temperature of lines for every draw."""
        shape = (n_draws, len(lines))
        found = Environments(np.zeros((*shape, self.module.interaction.n_channels)), np.zeros(shape), np.zeros(shape))
        for j, line in enumerate(lines):
            drawn = self._environment_codes(table, tensors, str(line), support_indices, n_support, n_draws, seed)
            for draw, z_e in enumerate(drawn):
                gain, energy, t = self._line(z_e)
                found.slope[draw, j] = gain / t
                found.intercept[draw, j] = -energy / t
                found.temperature[draw, j] = t
        return found

    def _environment_codes(
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
        drawn = self._supports(table, line, support_indices, n_support, n_draws, seed)
        return [self._encode(tensors, rows)["e"].mean(0, keepdim=True) for rows in drawn]

    @staticmethod
    def _supports(
        table: PairTable,
        line: str,
        support_indices: Sequence[int] | np.ndarray | None,
        n_support: int | None,
        n_draws: int,
        seed: int,
    ) -> list[np.ndarray]:
        """Positions of the support pairs of a line for every draw."""
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
        if n_drawn == len(pool):
            return [pool] * n_draws
        # of the line's own stream, so that predicting other lines too changes nothing
        streams = [np.random.default_rng([seed, draw, *line.encode()]) for draw in range(n_draws)]
        return [np.sort(rng.choice(pool, n_drawn, replace=False)) for rng in streams]

    def _fix_gauge(self, training: np.ndarray) -> None:
        """Keep mean and sd of the score over the training pairs."""
        _, tensors = self._read(None)
        score = self._encode(tensors, training)["score"]
        self.module.score_mean.copy_(score.mean(0))
        self.module.score_sd.copy_(score.std(0, correction=0).clamp(min=1e-6))
