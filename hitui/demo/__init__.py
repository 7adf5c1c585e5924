"""A made-up workspace that runs anywhere."""
