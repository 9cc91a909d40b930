"""The connectors that come with Tenuto, written against `plugin.py` like anybody else's."""
