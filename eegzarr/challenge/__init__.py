"""HBN-EEG and the EEG Foundation Challenge: what belongs to them alone."""
