"""What all tests may use: the servers of `tests/servers/`."""

pytest_plugins = ("tests.servers.plugin",)
