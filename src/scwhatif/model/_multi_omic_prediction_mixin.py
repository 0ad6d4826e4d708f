"""What a trained :class:`scwhatif.model.MultiOmicLPM` says about its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS

from scwhatif.model._multi_omic_evidence_mixin import MultiOmicEvidenceMixin
from scwhatif.module._multi_omic_vae import OBSERVED_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from scwhatif.model._multi_omic_rows import MultiOmicRows


class MultiOmicPredictionMixin(MultiOmicEvidenceMixin):
    """Latent states, prediction of hidden layers, and edits of drivers."""

    def get_latent_representation(
        self,
        mdata: MuData | None = None,
        *,
        which: Literal["state", "seed", "full"] = "state",
        modalities: Sequence[str] | None = None,
        indices: Sequence[int] | None = None,
        return_dist: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Posterior of the latent state of every sample.

        Parameters
        ----------
        mdata
            Samples; the model's own by default.
        which
            ``"seed"`` reads the drivers, ``"state"`` all other layers, ``"full"`` both.
        modalities
            Reads these layers instead.
        indices
            Positions in ``mdata.obs_names``.
        return_dist
            Also return the variance.

        Returns
        -------
        Mean, ``(n_samples, n_latent)`` float32, in the order of ``mdata.obs_names``; with ``return_dist`` mean and
        variance. A sample that has none of the layers gets the prior, mean 0 and variance 1.

        Raises
        ------
        KeyError
            A layer is not known.
        ValueError
            ``which`` is not known, or the model has no drivers.
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        drivers = self.module.drivers
        if modalities is None:
            if which not in ("state", "seed", "full"):
                msg = f"which={which!r} is not one of ('state', 'seed', 'full')."
                raise ValueError(msg)
            if which == "seed" and drivers is None:
                msg = "which='seed' reads the drivers, and the model was set up without any."
                raise ValueError(msg)
            of_which = {"seed": [drivers], "state": [n for n in self.layer_names if n != drivers]}
            modalities = of_which.get(which, self.layer_names)
        rows = self._rows_of(mdata)  # type: ignore[attr-defined]
        batch = rows.batch(self._positions(rows, indices))
        mean, variance = self._posterior(batch, self._given(modalities))
        if return_dist:
            return mean.cpu().numpy(), variance.cpu().numpy()
        return mean.cpu().numpy()

    def predict(
        self,
        target: str,
        mdata: MuData | None = None,
        *,
        given: Sequence[str] | None = None,
        indices: Sequence[int] | None = None,
        path: Literal["all", "latent", "evidence"] = "all",
        return_std: bool = False,
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        """Predict a layer from others, whether or not it was measured.

        Parameters
        ----------
        target
            Layer to predict.
        mdata
            Samples; the model's own by default.
        given
            Layers that may be looked at: all but the target by default. With the target among them this is a
            reconstruction. Nothing but the covariates is looked at if it is empty.
        indices
            Positions in ``mdata.obs_names``.
        path
            ``"all"``, or one of the two parts alone: the ``"latent"`` state and its decoders, or the ``"evidence"``.
        return_std
            Also return the standard deviation of a new measurement, from leave-one-out errors (not for counts and
            binary layers).

        Returns
        -------
        Samples × features, in the units of the data (counts at the median total, probabilities for binary layers).

        Raises
        ------
        KeyError
            A layer is not known.
        ValueError
            ``path`` is not known or the model has no evidence, or standard deviations of counts are asked for.
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        self._given([target])
        if path not in ("all", "latent", "evidence"):
            msg = f"path={path!r} is not one of ('all', 'latent', 'evidence')."
            raise ValueError(msg)
        if path == "evidence" and self.evidence is None:
            msg = "path='evidence' needs a model with evidence='full' or 'cis'."
            raise ValueError(msg)
        likelihood = self.module.layers[self.layer_names.index(target)].likelihood
        if return_std and likelihood not in ("normal", "student"):
            msg = f"Standard deviations are for normal and student layers; {target!r} is {likelihood!r}."
            raise ValueError(msg)
        given = [name for name in self.layer_names if name != target] if given is None else list(given)
        self._given(given)
        rows = self._rows_of(mdata)  # type: ignore[attr-defined]
        positions = self._positions(rows, indices)
        mean, variance = self._predicted(target, rows.batch(positions), given, path=path)
        mdata = self.adata if mdata is None else mdata
        index, columns = mdata.obs_names[positions], mdata[target].var_names
        frame = pd.DataFrame(self._to_units(target, mean), index=index, columns=columns)
        if not return_std:
            return frame
        scale = self.module.scale[self.module.columns[target]].cpu().numpy()
        return frame, pd.DataFrame(np.sqrt(variance) * scale, index=index, columns=columns)

    def get_driver_shift(
        self, edits: Mapping[str, float], mdata: MuData | None = None, *, indices: Sequence[int] | None = None
    ) -> np.ndarray:
        r"""Step in the latent state when drivers are set to other values, :math:`\mu_g(x') - \mu_g(x)`.

        Parameters
        ----------
        edits
            New value (0 or 1) by driver.
        mdata
            Samples; the model's own by default.
        indices
            Positions in ``mdata.obs_names``.

        Returns
        -------
        ``(n_samples, n_latent)``; NaN for samples in which an edited driver was not called, 0 where it has the value
        already.

        Raises
        ------
        KeyError
            A driver is not known.
        ValueError
            A value is not 0 or 1, or the model has no drivers.
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        rows = self._rows_of(mdata)  # type: ignore[attr-defined]
        batch, edited, unknown = self._edit(rows, edits, indices)
        shift = self._shift(batch, edited).cpu().numpy()
        shift[unknown] = np.nan
        return shift

    def perturb_drivers(
        self,
        edits: Mapping[str, float],
        mdata: MuData | None = None,
        *,
        targets: Sequence[str] | None = None,
        indices: Sequence[int] | None = None,
        direct: bool = True,
    ) -> dict[str, pd.DataFrame]:
        r"""Decoded change of every layer when drivers are set to other values.

        The latent state moves from :math:`z_\text{state}` by :meth:`get_driver_shift`, and both are decoded with all
        parents decoded too, so a change runs down the flow. What the drivers explain beyond the latent path (a gain
        that raises its own gene, a fusion that acts on one layer) is added. This is the sensitivity of the model, not
        the effect of an intervention.

        Parameters
        ----------
        edits
            New value (0 or 1) by driver.
        mdata
            Samples; the model's own by default.
        targets
            Layers to decode; all but the drivers by default.
        indices
            Positions in ``mdata.obs_names``.
        direct
            Whether to add what goes around the latent state.

        Returns
        -------
        Samples × features by layer: edited minus unedited in the units of the data; NaN for samples in which an
        edited driver was not called.

        Raises
        ------
        KeyError
            A driver or layer is not known.
        ValueError
            A value is not 0 or 1, or the model has no drivers.
        """
        self._check_if_trained(warn=False)  # type: ignore[attr-defined]
        targets = [n for n in self.layer_names if n != self.module.drivers] if targets is None else list(targets)
        self._given(targets)
        rows = self._rows_of(mdata)  # type: ignore[attr-defined]
        batch, edited, unknown = self._edit(rows, edits, indices)
        state, _ = self._posterior(batch, self._given([n for n in self.layer_names if n != self.module.drivers]))
        before, after = (self._decode_all(z, batch) for z in (state, state + self._shift(batch, edited)))
        columns = self.module.columns[self.module.drivers]
        step = (edited - batch[REGISTRY_KEYS.X_KEY])[:, columns].cpu().numpy()
        source = self.adata if mdata is None else mdata
        index = source.obs_names[self._positions(rows, indices)]
        changes = {}
        for name in targets:
            base, moved = before[name], after[name]
            if direct and name in self.driver_effects_:
                moved = moved + step @ self.driver_effects_[name]
            change = self._to_units(name, moved) - self._to_units(name, base)
            change[unknown] = np.nan
            changes[name] = pd.DataFrame(change, index=index, columns=source[name].var_names)
        return changes

    @staticmethod
    def _positions(rows: MultiOmicRows, indices: Sequence[int] | None) -> np.ndarray:
        return np.arange(len(rows.x)) if indices is None else np.asarray(indices)

    def _predicted(
        self, target: str, batch: Mapping[str, torch.Tensor], given: Sequence[str], *, path: str = "all"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Standardised mean and variance of a layer in some rows, from the latent path, the evidence, or both."""
        latent = self._decode(target, batch, self._given(given))
        evidence = None if path == "latent" else self._evidence(target, batch, given)
        if evidence is None:
            return latent, np.ones_like(latent)
        regressed, variance, informed = evidence
        share = 0.0 if path == "evidence" else self.latent_share_[target][self._case(target, given)]
        return np.where(informed[:, None], share * latent + (1 - share) * regressed, latent), variance

    def _case(self, target: str, given: Sequence[str]) -> str:
        if target in given:
            return "self"
        return "drivers" if set(given) <= {self.module.drivers} else "others"

    def _to_units(self, name: str, standardized: np.ndarray) -> np.ndarray:
        values = torch.from_numpy(standardized).to(self.module.device, torch.float32)
        return self.module.to_units(name, values).cpu().numpy()

    def _edit(
        self, rows: MultiOmicRows, edits: Mapping[str, float], indices: Sequence[int] | None
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor, np.ndarray]:
        """Rows, their values after the edit, and which of them lack the call of an edited driver."""
        drivers = self.module.drivers
        if drivers is None:
            msg = "The model was set up without drivers, so there are none to edit."
            raise ValueError(msg)
        names = self.adata[drivers].var_names
        unknown = [name for name in edits if name not in names]
        if unknown:
            msg = f"{unknown} are not drivers of the model, which has {list(names)}."
            raise KeyError(msg)
        wrong = {name: value for name, value in edits.items() if value not in (0, 1)}
        if wrong:
            msg = f"Drivers are set to 0 or 1, not {wrong}."
            raise ValueError(msg)
        batch = rows.batch(self._positions(rows, indices))
        edited = batch[REGISTRY_KEYS.X_KEY].clone()
        start = self.module.columns[drivers].start
        positions = [start + names.get_loc(name) for name in edits]
        called = batch[OBSERVED_KEY][:, positions].all(dim=1)
        for position, value in zip(positions, edits.values(), strict=True):
            edited[:, position] = float(value)
        return batch, edited, ~called.numpy()

    def _shift(self, batch: Mapping[str, torch.Tensor], edited: torch.Tensor) -> torch.Tensor:
        mask = self._given([self.module.drivers])
        after, _ = self._posterior({**batch, REGISTRY_KEYS.X_KEY: edited}, mask)
        return after - self._posterior(batch, mask)[0]
