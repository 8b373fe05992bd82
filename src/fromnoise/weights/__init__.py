"""Weights from and to other people's code."""
