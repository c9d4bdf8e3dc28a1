"""AppArmor profiles and SELinux labels: a plugin of ocifw."""
