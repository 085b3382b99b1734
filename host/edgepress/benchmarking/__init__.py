"""Measuring on a device: plans, sessions, statistics, verdicts.

- ``plans``: how long a measurement takes.
- ``session``: a job on the board, from pushing the models to the report.
- ``statistics``: raw samples by process become medians, percentiles and their intervals.
- ``verdict``: whether the number can be believed, and why not.
"""
