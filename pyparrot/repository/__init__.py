"""What a repository is: formats and how they are read."""
