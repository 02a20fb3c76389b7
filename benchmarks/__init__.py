"""eegzarr beside its peers: ``python -m benchmarks``."""
