"""The settings of a run: each is declared once, in `model` or `dataset`, and offered everywhere from there."""

from tasks.core.settings.base import LARGEST_LABEL
from tasks.core.settings.dataset import DatasetSettings
from tasks.core.settings.model import (
    DEFAULT_WEIGHTS,
    DetectionSettings,
    LimitSettings,
    ModelSettings,
    OverlaySettings,
    PoseSettings,
    ScoringSettings,
    SelectionSettings,
    Settings,
    Thresholds,
    TrackingSettings,
)

__all__ = [
    "DEFAULT_WEIGHTS",
    "LARGEST_LABEL",
    "DatasetSettings",
    "DetectionSettings",
    "LimitSettings",
    "ModelSettings",
    "OverlaySettings",
    "PoseSettings",
    "ScoringSettings",
    "SelectionSettings",
    "Settings",
    "Thresholds",
    "TrackingSettings",
]
