"""Container Device Interface for ocifw: a plugin of ocifw."""
