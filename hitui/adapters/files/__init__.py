"""Atomic writes, following of growing files, watching of folders."""
