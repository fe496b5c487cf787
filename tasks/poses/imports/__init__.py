"""Poses that other programs found: one module per kind of file, and `read_poses`, which tells them apart."""

from tasks.poses.imports.files import Imported, find_pose_files, read_poses

__all__ = ["Imported", "find_pose_files", "read_poses"]
