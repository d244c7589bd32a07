"""What pruning brings on an NVIDIA GPU: prepared here, measured there by what `there` holds."""
