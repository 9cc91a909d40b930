"""The heart: a run is a fold over its journal."""
