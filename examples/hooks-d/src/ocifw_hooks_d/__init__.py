"""podman's oci-hooks.d folders for ocifw: a plugin of ocifw."""
