"""What version 0.1 recorded."""
