"""Root filesystem, mounts and devices: a plugin of ocifw."""
