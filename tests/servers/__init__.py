"""Real servers for tests, on loopback: installed if Debian lets us, started and stopped by process id."""
