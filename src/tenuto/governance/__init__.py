"""The law: who may do what, what has to stay secret, and what is written down about it."""
