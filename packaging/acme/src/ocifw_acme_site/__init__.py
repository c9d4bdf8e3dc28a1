"""The site of a container: a plugin of ocifw."""
