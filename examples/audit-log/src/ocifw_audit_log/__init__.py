"""One line of JSON for each phase of a container's life: a plugin of ocifw."""
