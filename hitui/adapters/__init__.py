"""The seams to the world: one folder a seam, one file a kind, one registry line each."""
