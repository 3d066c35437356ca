"""Configuration: the definitions of `tieout.yaml`, and the only reader of files and environment."""
