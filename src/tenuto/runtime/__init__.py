"""The loops that drive runs, and what they use of the outside world."""
