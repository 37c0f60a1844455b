"""Learned instruments for linear IV, and preferences from game choices."""
