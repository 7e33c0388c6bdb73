"""Every workload against neural-tangents 0.6.5 in one run: `python -m benchmarks [NAME...]`, or `make bench`."""
