"""A campaign of random faults against whole runs: ``tools/faults``, and docs/faults.md."""
