"""Video files in and out: probing, decoding in a guarded process, encoding, thumbnails."""
