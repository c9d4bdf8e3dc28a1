"""ocifw-seccomp: system call filters, compiled by ourselves to classic BPF."""
