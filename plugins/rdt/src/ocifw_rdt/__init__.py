"""Intel RDT groups (linux.intelRdt): a plugin of ocifw."""
