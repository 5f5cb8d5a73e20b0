"""Read-only trees: entries, index files, path walks, and what `os` says of them; no format."""
