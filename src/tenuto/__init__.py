"""Durable workflows for systems, applications and infrastructure."""

__version__ = "0.1.0"
