"""Deterministic simulation: the real engine on a seeded loop, a simulated disk and a simulated world.

    python -m tests.reliability.simulation --seed 4711 --trace

What a seed does is the same each time, on each machine: the same trace, byte for byte.
"""
