"""Finding people and their keypoints: models, their runtimes, and the pass over a clip."""

from tasks.poses.extract import extract_poses
from tasks.poses.models import PoseModel, load_model, model_names, resolve_model

__all__ = ["PoseModel", "extract_poses", "load_model", "model_names", "resolve_model"]
