"""What reads untrusted bytes, fed with hostile ones. `tools/fuzz` runs it; see there."""
