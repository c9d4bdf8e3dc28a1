"""Namespaces, id mappings, time offsets, sysctls and the names of the UTS namespace: a plugin of ocifw."""
