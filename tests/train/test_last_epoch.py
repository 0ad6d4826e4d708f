import os
import signal
import sys
from types import SimpleNamespace

import pytest

from scwhatif.train._last_epoch import LastEpoch, interruptible


def plan():
    restored = []
    return SimpleNamespace(restore_last_epoch=lambda: restored.append(True)), restored


def test_only_an_interruption_restores():
    module, restored = plan()
    callback = LastEpoch()
    callback.on_exception(SimpleNamespace(current_epoch=3), module, RuntimeError())
    assert (callback.n_epochs, restored) == (None, [])
    callback.on_exception(SimpleNamespace(current_epoch=3), module, KeyboardInterrupt())
    assert (callback.n_epochs, restored) == (3, [True])


def test_what_lightning_makes_of_an_interruption_is_undone():
    callback = LastEpoch()
    handler = signal.getsignal(signal.SIGINT)

    def fit():
        callback.n_epochs = 2
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(1)

    with (
        pytest.raises(KeyboardInterrupt, match=r"in epoch 2 \(counting from 0\).*epochs before"),
        interruptible(callback),
    ):
        fit()
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_other_ends_are_left_alone():
    with pytest.raises(SystemExit), interruptible(LastEpoch()):
        sys.exit(1)
    with pytest.raises(RuntimeError, match="x"), interruptible(LastEpoch()):
        raise RuntimeError("x")
