"""Networks, the ridge baseline and augmentation."""
