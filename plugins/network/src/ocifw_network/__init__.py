"""Network devices (linux.netDevices): a plugin of ocifw."""
