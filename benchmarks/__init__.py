"""Measurements of licp, beside its peers; nothing here is needed to use it.

``python -m benchmarks --help``; what it measures, and what came out, is in ``README.md``.
"""
