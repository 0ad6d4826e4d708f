import torch

from scwhatif.nn import LinearDecoder


def test_decoder_is_affine():
    decoder = LinearDecoder(3, 5)
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    zero = decoder(torch.zeros(2, 3))
    torch.testing.assert_close(decoder(a + b) - zero, decoder(a) - zero + decoder(b) - zero)
    torch.testing.assert_close(decoder(torch.eye(3)) - zero[0], decoder.loadings.T)


def test_rotation_of_code_and_loadings_leaves_the_output_unchanged():
    decoder = LinearDecoder(4, 6).double()
    z = torch.randn(5, 4, dtype=torch.float64)
    before = decoder(z)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    with torch.no_grad():
        decoder.weight.copy_(decoder.weight @ rotation)
    torch.testing.assert_close(decoder(z @ rotation), before)


def test_nonnegative_loadings_stay_nonnegative():
    decoder = LinearDecoder(3, 5, "nonnegative")
    assert (decoder.loadings > 0).all()
    with torch.no_grad():
        decoder.weight.sub_(100)
    assert (decoder.loadings >= 0).all()
