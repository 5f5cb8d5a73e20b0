"""What of the substitution of the C library knows x86-64."""
