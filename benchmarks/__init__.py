"""eegzarr beside its peers: ``python -m benchmarks.build`` and so on."""
