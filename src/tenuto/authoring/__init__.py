"""Workflows as Python code, on the same engine door as the workflow language."""
