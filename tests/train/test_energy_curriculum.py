import pytest

from scwhatif.train import EnergyCurriculum

SEED = {"corr": 0.1, "adversary": 0.1, "contrast": 0.05, "sparsity": 0.01, "prototype": 0.05}
CAPS = {"corr": 0.2, "adversary": 0.2, "contrast": 0.1, "sparsity": 0.02, "prototype": 0.1}


def test_weights_of_every_epoch():
    curriculum = EnergyCurriculum(SEED)
    for epoch in range(14):
        weights = curriculum.weights(epoch)
        for name, start in SEED.items():
            expected = 0.0 if epoch < 2 else min(start + 0.01 * (epoch - 2), CAPS[name])
            assert weights[name] == pytest.approx(expected, abs=1e-12)
    reached = {name: next(e for e in range(20) if curriculum.weights(e)[name] >= CAPS[name] - 1e-12) for name in SEED}
    assert reached == {"corr": 12, "adversary": 12, "contrast": 7, "sparsity": 3, "prototype": 7}


def test_caps_can_be_given_and_a_loss_that_is_off_stays_off():
    curriculum = EnergyCurriculum({"corr": 0.1, "adversary": 0.0}, caps={"corr": 0.12}, warmup_epochs=0)
    assert curriculum.energy_on(0)
    assert curriculum.weights(50) == {"corr": 0.12, "adversary": 0.0}


def test_energy_waits_for_the_warm_up():
    assert [EnergyCurriculum({}, warmup_epochs=2).energy_on(epoch) for epoch in range(4)] == [False, False, True, True]
