"""The speed programme: `python -m bench`."""
