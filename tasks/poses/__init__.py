"""Finding people and their keypoints: models, their runtimes, and the pass over a clip."""

from tasks.poses.extract import extract_poses
from tasks.poses.models import PoseModel, entry_of, load_model, model_key, model_names, model_of, resolve_model

__all__ = [
    "PoseModel",
    "entry_of",
    "extract_poses",
    "load_model",
    "model_key",
    "model_names",
    "model_of",
    "resolve_model",
]
