"""One file an engine behind the protocol of `base`."""
