from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scwhatif.metrics import predict_additive, predict_average, predict_no_change, predict_train_mean
from scwhatif.metrics._perturbation_baselines import check_not_trained, parts_of

GENES = ["x", "y", "z"]
CONTROL = pd.Series([1.0, 1.0, 1.0], GENES)
TRAIN = pd.DataFrame(
    [[2.0, 1.0, 1.0], [1.0, 4.0, 1.0], [0.0, 0.0, 7.0], [5.0, 5.0, 5.0]], ["A", "B", "C", "A+C"], GENES
)
PAIRS = ["A+B", "C+B"]


def test_predictions():
    pd.testing.assert_frame_equal(predict_no_change(CONTROL, PAIRS), pd.DataFrame(1.0, PAIRS, GENES))
    mean = predict_train_mean(TRAIN, PAIRS)
    pd.testing.assert_frame_equal(mean, pd.DataFrame([[2.0, 2.5, 3.5]] * 2, PAIRS, GENES))
    additive = predict_additive(TRAIN, CONTROL, PAIRS)
    pd.testing.assert_frame_equal(additive, pd.DataFrame([[2.0, 4.0, 1.0], [0.0, 3.0, 7.0]], PAIRS, GENES))
    average = predict_average(TRAIN, PAIRS)
    pd.testing.assert_frame_equal(average, pd.DataFrame([[1.5, 2.5, 1.0], [0.5, 2.0, 4.0]], PAIRS, GENES))


def test_additive_effects_are_recovered_for_any_number_of_parts():
    rng = np.random.default_rng(0)
    effects = pd.DataFrame(rng.normal(size=(4, 30)), index=list("ABCD"))
    control = rng.normal(size=30)
    wanted = {"A+B": ["A", "B"], "D+A+C": ["A", "C", "D"]}
    found = predict_additive(effects + control, control, wanted)
    for name, parts in wanted.items():
        np.testing.assert_allclose(found.loc[name], control + effects.loc[parts].sum())
    # half of the effect, where both parts do the same
    twins = pd.DataFrame([control + 2, control + 2], index=["A", "B"])
    np.testing.assert_allclose(predict_average(twins, ["A+B"]).loc["A+B"], control + 2)


def test_the_order_of_genes_and_parts_does_not_matter():
    shuffled = predict_additive(TRAIN[GENES[::-1]], CONTROL, ["B+A", "B+C"])[GENES]
    np.testing.assert_array_equal(shuffled, predict_additive(TRAIN, CONTROL, PAIRS))
    other = predict_additive(TRAIN.drop(index="A+C"), CONTROL, ["A_B"], separator="_")
    np.testing.assert_array_equal(other, predict_additive(TRAIN, CONTROL, ["A+B"]))
    assert parts_of("A + B", "+") == parts_of("B+A", "+") == {"A", "B"}


@pytest.mark.parametrize("leaked", ["A+C", "C+A", "B"])
def test_what_is_tested_must_not_be_trained_on(leaked: str):
    predictors = (
        lambda wanted: predict_train_mean(TRAIN, wanted),
        lambda wanted: predict_additive(TRAIN, CONTROL, wanted),
        lambda wanted: predict_average(TRAIN, wanted),
    )
    for predict in predictors:
        with pytest.raises(ValueError, match=r"train holds .* which are to be predicted; leave them out"):
            predict(["A+B", leaked])


def test_bad_input():
    with pytest.raises(ValueError, match="train lacks 'Q', of which perturbations to predict are made"):
        predict_additive(TRAIN, CONTROL, ["A+Q"])
    with pytest.raises(ValueError, match="train must be a table"):
        predict_train_mean(TRAIN.to_numpy(), PAIRS)
    with pytest.raises(ValueError, match="rows of train must have names that do not repeat"):
        predict_average(pd.concat([TRAIN, TRAIN]), PAIRS)
    with pytest.raises(ValueError, match="perturbations must have names that do not repeat"):
        check_not_trained([], ["A", "A"], "+")
    with pytest.raises(ValueError, match="train holds NaN"):
        predict_train_mean(TRAIN.replace(7.0, np.nan), PAIRS)
