"""Encoders taken apart, and the screens that run on them; nothing here knows AnnData."""

from __future__ import annotations

from scwhatif.engine._encoder_plan import EncoderPlan
from scwhatif.engine._feature_screen import FeatureCounts, FeatureScreen, ScreenSums
from scwhatif.engine._loading_rotation import RotationMethod, loading_rotation
from scwhatif.engine._orthomax import orthomax

__all__ = [
    "EncoderPlan",
    "FeatureCounts",
    "FeatureScreen",
    "RotationMethod",
    "ScreenSums",
    "loading_rotation",
    "orthomax",
]
