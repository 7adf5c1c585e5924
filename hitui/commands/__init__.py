"""One module a verb of the command line, loaded when it is asked for."""
