"""Evaluation of a batch: its folder, what is measured of each scan, what all of them come to."""
