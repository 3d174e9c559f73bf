"""How far to trust rankings of the inputs."""
