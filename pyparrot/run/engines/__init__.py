"""Engines: how system calls reach the decision core, and how its actions are carried out."""
