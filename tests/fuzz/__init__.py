"""Bad input for a server: generators, the server that gets it, and `python -m tests.fuzz` for many inputs."""
