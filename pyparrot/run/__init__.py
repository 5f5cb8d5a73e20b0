"""A run: a command that sees repositories, and the processes that serve it."""
