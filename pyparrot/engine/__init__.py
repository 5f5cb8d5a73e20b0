"""Engines: how the system calls of programs reach the brain, and how its actions are carried out."""
