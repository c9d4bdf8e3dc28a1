"""The kernel's interfaces, one module each: one function a system call, under the kernel's name. No policy."""
