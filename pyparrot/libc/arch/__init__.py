"""What of the substitution of the C library depends on the CPU: one package for each."""
