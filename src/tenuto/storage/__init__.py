"""Stores: the engine's ports over databases, and in memory."""
