"""Landlock rulesets for containers, from the profile: a plugin of ocifw."""
