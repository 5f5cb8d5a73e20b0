"""Engines: how programs' system calls reach the brain, and how its actions are carried out."""
