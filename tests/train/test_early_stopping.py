import pytest
import torch

from scwhatif.train._early_stopping import EarlyStopping, early_stopping_callback


def check(callback, value):
    return callback._evaluate_stopping_criteria(torch.tensor(value))[0]


def test_the_arguments_of_the_trainer_make_the_callback():
    kwargs = {"early_stopping_patience": 2, "early_stopping_mode": "max", "early_stopping_monitor": "aupr", "other": 1}
    callback = early_stopping_callback(kwargs)
    assert kwargs == {"other": 1}
    assert (callback.patience, callback.mode, callback.monitor, callback.warmup_epochs) == (2, "max", "aupr", 0)
    assert early_stopping_callback({}).monitor == "objective_validation"


@pytest.mark.parametrize("interrupted_after", [1, 2, 3, 4])
def test_a_checkpoint_does_not_lengthen_the_warm_up(interrupted_after):
    values = [5.0, 6.0, 7.0, 5.5, 6.5, 7.5]
    settings = {"monitor": "m", "min_delta": 0.0, "patience": 2, "mode": "min", "warmup_epochs": 2}
    whole = EarlyStopping(**settings)
    wanted = [check(whole, value) for value in values]
    assert True in wanted
    first = EarlyStopping(**settings)
    found = [check(first, value) for value in values[:interrupted_after]]
    second = EarlyStopping(**settings)
    second.load_state_dict(first.state_dict())
    assert found + [check(second, value) for value in values[interrupted_after:]] == wanted


@pytest.mark.parametrize("loud", [True, False])
def test_says_why_only_where_there_is_a_progress_bar(loud, capsys):
    kwargs = {"early_stopping_monitor": "m", "early_stopping_patience": 1, "enable_progress_bar": loud}
    callback = early_stopping_callback(kwargs)
    assert kwargs == {"enable_progress_bar": loud}
    assert [check(callback, value) for value in (5.0, 6.0)] == [False, True]
    callback.teardown(None, None, stage="fit")
    assert ("did not improve" in capsys.readouterr().out) == loud
    assert "did not improve" in callback.early_stopping_reason
