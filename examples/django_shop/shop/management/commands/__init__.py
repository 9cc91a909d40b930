"""Commands of the shop, one a file."""
