"""The verb `conformance`: a plugin of ocifw."""
