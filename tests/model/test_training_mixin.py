import subprocess
import sys
import textwrap

import pytest
import torch

from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI

DDP_SCRIPT = """
import sys
import torch
from scwhatif.datasets import simulate_factors
from scwhatif.model import BetaLinearSCVI

if __name__ == "__main__":
    adata = simulate_factors(200, 30, 3, seed=0)
    BetaLinearSCVI.setup_anndata(adata, batch_key="batch")
    model = BetaLinearSCVI(adata, n_latent=4, n_hidden=16, seed=0, gene_likelihood=sys.argv[2])
    model.train(
        4, seed=0, batch_size=25, accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False,
        check_val_every_n_epoch=1,
    )
    torch.save(
        {
            "weights": model.module.state_dict(),
            "train": sorted(int(i) for i in model.train_indices),
            "history": {key: value.astype(float).iloc[:, 0].tolist() for key, value in model.history.items()},
        },
        f"{sys.argv[1]}/rank{model.trainer.global_rank}.pt",
    )
"""


@pytest.mark.parametrize("gene_likelihood", ["nb", "zinb"])
def test_plain_ddp_on_two_cpu_ranks_gives_equal_weights(tmp_path, gene_likelihood):
    script = tmp_path / "fit.py"
    script.write_text(textwrap.dedent(DDP_SCRIPT))
    finished = subprocess.run(
        [sys.executable, str(script), str(tmp_path), gene_likelihood],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in (0, 1))
    for key, value in first["weights"].items():
        assert torch.equal(value, second["weights"][key]), key
    # one split for both ranks: no validation cell is trained on anywhere
    assert first["train"] == second["train"]
    elbo = first["history"]["elbo_train"]
    assert elbo[-1] < elbo[0]
    assert len(first["history"]["elbo_validation"]) == 4


def test_several_processes_without_a_seed_are_refused():
    adata = simulate_factors(60, 20, 3, seed=0)
    BetaLinearSCVI.setup_anndata(adata)
    model = BetaLinearSCVI(adata, n_latent=2)
    with pytest.raises(ValueError, match="needs a seed"):
        model.train(1, strategy="ddp", devices=2, accelerator="cpu")
    assert not model.is_trained
