"""Measurements, each a ratio against a reference measured in the same run: `python -m tests.bench [NAME…]`.

They print; they assert nothing, since a busy machine would make them lie.
"""
