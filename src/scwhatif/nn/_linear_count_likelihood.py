"""Likelihood of counts under a linear decoder, without ever holding the decoded matrix."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import softplus

# elements of a block of rows: what a core's cache holds a few of
_BLOCK = 1 << 18
# counts up to here have their gamma terms read from a table of products
_TABLE = 8


def linear_count_log_likelihood(
    x: torch.Tensor,
    z: torch.Tensor,
    weight: torch.Tensor,
    *,
    bias: torch.Tensor,
    log_scale: torch.Tensor,
    design: torch.Tensor | None = None,
    effects: torch.Tensor | None = None,
    theta: torch.Tensor | None = None,
    normalize: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Log-likelihood of counts whose log-rate is linear in a latent code, fused with its gradient.

    With :math:`\eta = zW^\top + b + DE`, the mean is :math:`\mu = s\,\mathrm{softmax}(\eta)` or
    :math:`\mu = s\,e^{\eta}`, and with :math:`r = \mu/\theta` the negative binomial is

    .. math::
        \log p(x) = -\sum_g \theta_g\log(1 + r_g)
        + \sum_{x_g > 0}\left[-x_g\log(1 + r_g^{-1}) + \log\frac{\Gamma(x_g + \theta_g)}{\Gamma(\theta_g)\,x_g!}\right].

    Cells go through in blocks that stay in the cache, and the gradient is taken on the way, so each element is
    exponentiated once. Gamma terms are needed at the non-zeros only, in float64: of a count up to eight from the
    product :math:`\theta(\theta + 1)\cdots(\theta + x - 1)`, else from the gamma functions.

    Parameters
    ----------
    x
        Counts, ``(n_cells, n_genes)``, dense or CSR without duplicates.
    z
        Latent codes, ``(n_cells, n_latent)``.
    weight
        Loadings, ``(n_genes, n_latent)``.
    bias
        ``(n_genes,)``.
    log_scale
        Logarithm of the library size or size factor s of each cell, ``(n_cells, 1)``; receives no gradient.
    design, effects
        Covariates ``(n_cells, n_effects)``, which receive no gradient, and their effects ``(n_effects, n_genes)``.
    theta
        Inverse dispersion > 0, ``(n_genes,)``; ``None`` is Poisson.
    normalize
        Whether rates are normalised over genes.

    Returns
    -------
    Sum over cells, differentiable in ``z``, ``weight``, ``bias``, ``effects`` and ``theta``, and the log-likelihood of
    each cell, ``(n_cells,)``, which is not differentiable.
    """
    return _LinearCounts.apply(x, z, weight, bias, log_scale, design, effects, theta, normalize)


class _LinearCounts(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        z: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        log_scale: torch.Tensor,
        design: torch.Tensor | None,
        effects: torch.Tensor | None,
        theta: torch.Tensor | None,
        normalize: bool,  # noqa: FBT001
    ) -> tuple[torch.Tensor, torch.Tensor]:
        n_cells, n_genes = x.shape
        row_ends, cols, counts = nonzeros(x)
        offset = bias if theta is None else bias - theta.log()
        # Poisson is the limit of infinite theta, in which log(1 + r) and r / (1 + r) are both r: count in units of one
        unit = torch.ones_like(bias) if theta is None else theta
        rows_of = torch.repeat_interleave(torch.arange(n_cells), row_ends.diff())
        # holds exp(log mu - log theta) of each block, up to a factor per cell, until its gradient takes the place
        gradient = torch.empty(n_cells, n_genes, dtype=z.dtype)
        at_zero = torch.empty(n_cells, dtype=z.dtype)
        log_ratio, pull = torch.empty_like(counts), torch.empty_like(counts)
        theta_gradient = torch.zeros_like(bias)
        block = min(max(_BLOCK // n_genes, 1), n_cells)
        buffers = torch.empty(3, block, n_genes, dtype=z.dtype)
        ones = torch.ones(block, dtype=z.dtype)
        for start in range(0, n_cells, block):
            stop = min(start + block, n_cells)
            rows, some = slice(start, stop), slice(int(row_ends[start]), int(row_ends[stop]))
            n = stop - start
            row_of = rows_of[some] - start
            flat = row_of * n_genes + cols[some]
            e, (r, log1p, work) = gradient[rows], buffers[:, :n]

            torch.addmm(offset, z[rows], weight.T, out=r)
            if design is not None and effects is not None:
                r.addmm_(design[rows], effects)
            shift = log_scale[rows]
            if normalize:
                r.sub_(r.amax(dim=1, keepdim=True))
                torch.exp(r, out=e)
                total = (e @ unit).unsqueeze(1)
                shift = shift - total.log()
            else:
                torch.exp(r, out=e)
            at = r.view(-1).index_select(0, flat).add_(shift.squeeze(1).index_select(0, row_of))
            log_ratio[some] = at
            torch.mul(e, shift.exp(), out=r)
            if theta is None:
                value = slope = r
                pull[some] = counts[some]
            else:
                value = torch.log1p(r, out=log1p)
                slope = r.div_(torch.add(r, 1, out=work))
                theta_gradient.addmv_(slope.T, ones[:n]).addmv_(value.T, ones[:n], alpha=-1)
                pull[some] = counts[some] * torch.sigmoid(-at)
            at_zero[rows] = value @ unit
            if normalize:
                # through the softmax goes the sum of the gradient, in proportion to mu
                summed = (slope @ unit).neg_().index_add_(0, row_of, pull[some])
                e.mul_(summed.unsqueeze(1) / total).add_(slope)
            else:
                e.copy_(slope)
            e.mul_(unit).neg_().view(-1).index_add_(0, flat, pull[some])

        gamma, gamma_slope = _gamma_terms(counts, cols, theta)
        if theta is None or gamma_slope is None:
            gamma += counts * log_ratio
        else:
            gamma -= counts * softplus(-log_ratio)
            theta_gradient.index_add_(0, cols, (gamma_slope - pull / theta.index_select(0, cols)).to(z.dtype))
        at_counts = torch.zeros(n_cells, dtype=torch.float64).index_add_(0, rows_of, gamma)
        per_cell = (at_counts - at_zero).to(z.dtype)
        ctx.save_for_backward(z, weight, gradient, theta_gradient, design)
        ctx.has_theta, ctx.has_effects = theta is not None, effects is not None
        ctx.mark_non_differentiable(per_cell)
        return per_cell.sum(), per_cell

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        z, weight, gradient, theta_gradient, design = ctx.saved_tensors
        needs, factor = ctx.needs_input_grad, grads[0]
        of_z = (gradient @ weight) * factor if needs[1] else None
        of_weight = gradient.T @ (z * factor) if needs[2] else None
        of_bias = gradient.new_ones(len(z)) @ gradient * factor if needs[3] else None
        of_effects = (design * factor).T @ gradient if ctx.has_effects and needs[6] else None
        of_theta = theta_gradient * factor if ctx.has_theta and needs[7] else None
        return None, of_z, of_weight, of_bias, None, None, of_effects, of_theta, None


def nonzeros(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Non-zeros of a matrix, row by row.

    Parameters
    ----------
    x
        Dense or CSR.

    Returns
    -------
    Where in the list each row begins (and the last ends), ``(n_rows + 1,)``; column and value of each.
    """
    if x.layout is torch.sparse_csr:
        return x.crow_indices().long(), x.col_indices().long(), x.values()
    rows, cols = x.nonzero(as_tuple=True)
    ends = torch.nn.functional.pad(torch.bincount(rows, minlength=len(x)).cumsum(0), (1, 0))
    return ends, cols, x[rows, cols]


def _gamma_terms(
    counts: torch.Tensor, cols: torch.Tensor, theta: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Logarithm of Γ(x + θ) / (Γ(θ) x!), for Poisson of 1 / x!, and its slope in θ."""
    x = counts.double()
    if theta is None:
        return torch.lgamma(x + 1).neg_(), None
    per_gene = theta.double()
    # rising factorials over x!, and the sums of 1 / (theta + k) that are the slopes of their logarithms
    products = per_gene.new_ones(_TABLE + 1, len(theta))
    slopes = per_gene.new_zeros(_TABLE + 1, len(theta))
    for k in range(_TABLE):
        torch.mul(products[k], (per_gene + k).div_(k + 1), out=products[k + 1])
        torch.add(slopes[k], (per_gene + k).reciprocal_(), out=slopes[k + 1])
    # a CSR matrix may store zeros: they read the row of ones
    where = counts.nan_to_num(0).clamp(0, _TABLE).long() * len(theta) + cols
    value, slope = products.view(-1).index_select(0, where).log_(), slopes.view(-1).index_select(0, where)
    large = ((counts > _TABLE) | (counts != counts.floor())).nonzero().squeeze(1)
    if len(large):
        x, t = x[large], per_gene[cols[large]]
        value[large] = torch.lgamma(x + t) - torch.lgamma(t) - torch.lgamma(x + 1)
        slope[large] = torch.digamma(x + t) - torch.digamma(t)
    return value, slope
