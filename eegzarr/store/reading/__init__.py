"""How windows are read out of shards: bytes from a disk or a bucket, checked once, decoded into place."""
