import pytest

from scwhatif.train import TrainingDivergedError


def test_error_carries_the_epoch():
    with pytest.raises(RuntimeError, match="what happened") as error:
        raise TrainingDivergedError("what happened", 3, 2)
    assert (error.value.epoch, error.value.n_epochs_kept) == (3, 2)
