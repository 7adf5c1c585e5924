"""One module a widget; each shows a frozen value that it is given."""
