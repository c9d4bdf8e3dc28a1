"""User, limits, scheduling and terminal of the container process: a plugin of ocifw."""
