"""Capability sets of the container process: a plugin of ocifw."""
