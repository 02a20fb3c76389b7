"""How groups become Datasets: labels that are read when they are looked at, and groups that are opened together."""
