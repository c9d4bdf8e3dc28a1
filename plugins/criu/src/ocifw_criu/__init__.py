"""Checkpoint and restore of containers: a plugin of ocifw."""
