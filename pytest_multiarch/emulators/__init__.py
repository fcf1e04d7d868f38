"""How each foreign platform runs on the engine: the kernel's entries for QEMU, and programs that prove them."""
