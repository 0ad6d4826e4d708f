import pytest
import torch

from scwhatif.nn import CisSkip, cis_links

RNA = ["AKT1", "AKT2", "TP53", "MYC"]


def test_links_are_the_features_of_the_same_gene():
    links = cis_links(["AKT1;AKT2", "tp53", "PTEN", None, ""], RNA)
    assert links.tolist() == [[0, 1], [2, -1], [-1, -1], [-1, -1], [-1, -1]]


def test_several_sites_of_a_gene_are_all_links_up_to_the_limit():
    sites = ["TP53", "MYC", "TP53", "TP53"]
    assert cis_links(["TP53"], sites).tolist() == [[0, 2, 3]]
    assert cis_links(["TP53"], sites, max_links=2).tolist() == [[0, 2]]


@pytest.mark.parametrize("target", [["PTEN", None], []])
def test_no_links(target):
    links = cis_links(target, RNA)
    assert links.shape == (len(target), 1)
    assert (links == -1).all()
    assert CisSkip(links)(torch.randn(3, 4)).eq(0).all()


def test_skip_equals_a_loop():
    torch.manual_seed(0)
    links = cis_links(["AKT1;AKT2", "TP53", "PTEN"], RNA)
    skip = CisSkip(links)
    torch.nn.init.normal_(skip.weight)
    parents = torch.randn(2, 5, 4)
    wanted = torch.zeros(2, 5, 3)
    for j in range(3):
        for k, position in enumerate(links[j].tolist()):
            if position >= 0:
                wanted[..., j] += skip.weight[j, k] * parents[..., position]
    torch.testing.assert_close(skip(parents), wanted)
    skip(parents).sum().backward()
    assert (skip.weight.grad[links < 0] == 0).all()
