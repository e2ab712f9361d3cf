"""Adapters to neighbouring libraries: one module each, behind an extra of its name."""
