"""The hooks of config.json (prestart to poststop): a plugin of ocifw."""
