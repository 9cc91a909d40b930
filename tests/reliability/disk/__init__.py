"""Disks that fail, for all layers about storage.

`forgetful` knows what a disk may hold after a power failure, `tracing` what a real process did to its files; `crashes`
puts both together. `life` is such a process, which acknowledges on its standard output, so that what it promised stands
in the same log as what it synced; `lives` starts and hears it. `mounts` are file systems of our own, `weaknesses` the
stores that do not keep their word. Nothing is imported here.
"""
