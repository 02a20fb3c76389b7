"""A group for each montage of a dataset, in place of leaving out what most recordings don't have."""
