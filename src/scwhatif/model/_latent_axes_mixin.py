"""The axes of a linear model's latent space, as the user reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from scwhatif.engine import RotationMethod, loading_rotation
from scwhatif.metrics import ACTIVE_VARIANCE

if TYPE_CHECKING:
    from collections.abc import Callable


class LatentAxesMixin:
    """Rotation, explained share and loadings of a model whose decoder is linear."""

    module: Any
    n_latent: int
    rotation_: str | None
    reference_categories_: list[int] | None
    minified_data_type: Any
    get_var_names: Callable[[], Any]
    _check_if_trained: Any

    def rotate(self, method: RotationMethod | None = "varimax") -> None:
        r"""Choose the axes the latent space is read in, after training and for free.

        The decoder is linear and the prior N(0, I), so an orthogonal rotation of the latent code and of the loadings
        changes neither what the model predicts nor its likelihood; the axes a fit lands on are an accident, and those
        whose loadings have the simplest structure are easier to name. Everything the model returns afterwards is in
        the new axes (latent representation, loadings, ``decode``, knockouts, mapped queries), and they are saved with
        it. The posterior is factorised in the trained axes only: variances returned with ``return_dist=True`` are the
        marginal ones. ``history["kl_z…"]`` stays that of the axes during training.

        Parameters
        ----------
        method
            ``"varimax"`` (few features per dimension), ``"quartimax"`` (few dimensions per feature) or ``"ica"`` (the
            rotation nearest to independent components), all on the loadings of the active dimensions (variance of the
            posterior means above 0.01); ``None`` returns to the trained axes.

        Raises
        ------
        RuntimeError
            The model has not been trained.
        ValueError
            The loadings are constrained to be non-negative, the data are minified (they keep codes in the present
            axes), the model maps a query (which shares its reference's axes), or the method is not known.
        """
        self._check_if_trained(warn=False)
        module = self.module
        reason = None
        if module.decoder.constraint == "nonnegative":
            reason = "a rotation would make non-negative loadings negative; they need none to be read"
        elif self.minified_data_type is not None:
            reason = "the minified data keep codes in the present axes; rotate before minify_adata"
        elif self.reference_categories_ is not None:
            reason = "a query model shares its reference's axes; rotate the reference before load_query_data"
        if reason is not None:
            msg = f"Cannot rotate: {reason}."
            raise ValueError(msg)
        loadings = module.effective_loadings() @ module.rotation.T
        covariance = module.rotation @ module.latent_covariance @ module.rotation.T
        rotation = torch.eye(self.n_latent)
        if method is not None:
            active = (covariance.diagonal() > ACTIVE_VARIANCE).cpu().numpy()
            rotation = torch.from_numpy(loading_rotation(loadings.cpu().numpy(), method, active=active)).float()
        module.rotate(module.rotation.T @ rotation.to(module.device))
        module.canonicalize()
        self.rotation_ = method

    def get_explained_share(self) -> pd.Series:
        r"""Share of the decoded log-rate's variance that each latent dimension accounts for.

        Dimension j contributes :math:`\mathrm{Var}(\mu_j)\sum_g (W_{gj} - \bar W_j)^2` (for a size factor or
        continuous features without centring, since nothing is normalised away), divided by the total; the variance
        is that of the posterior means over the training cells in the last epoch.

        Returns
        -------
        Series indexed ``z0``, ``z1`` …, adding up to 1; descending after training.
        """
        share = self.module.explained_variance().cpu().numpy()
        return pd.Series(share / share.sum(), index=self._latent_names(), name="explained_share")

    def get_loadings(self) -> pd.DataFrame:
        """Loadings: log fold change of each feature per unit of each latent dimension.

        Counts with observed library size are normalised over genes, so a constant added to a column changes
        nothing; columns are centred to remove it. Order and sign are those of the latent representation
        (canonical after training).

        Returns
        -------
        Features × latent dimensions ``z0``, ``z1`` …
        """
        loadings = self.module.effective_loadings().cpu().numpy()
        return pd.DataFrame(loadings, index=pd.Index(self.get_var_names()), columns=self._latent_names())

    def _latent_names(self) -> list[str]:
        return [f"z{j}" for j in range(self.n_latent)]
