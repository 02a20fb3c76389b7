"""To and from MNE, braindecode, HDF5 and LMDB."""
