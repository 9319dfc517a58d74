"""Sight: what a process counts, how it tells of it, its log lines and its traces (decision 10)."""
