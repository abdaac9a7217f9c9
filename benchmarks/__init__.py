"""Measurements of licp; nothing here is needed to use it."""
