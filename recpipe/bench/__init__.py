"""Benchmarks: each measures one promise, against a stated baseline in the same run."""
