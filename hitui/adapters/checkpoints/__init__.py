"""How the state of a config is read from the files that its runs left."""
