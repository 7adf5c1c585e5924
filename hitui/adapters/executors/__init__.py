"""How a job is started: on this machine, or through a scheduler."""
