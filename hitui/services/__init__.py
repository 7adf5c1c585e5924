"""What screens and commands both ask for."""
