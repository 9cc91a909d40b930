"""The company's systems: small servers on loopback that speak the real protocols."""
