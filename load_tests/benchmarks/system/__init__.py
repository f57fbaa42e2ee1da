"""What the benchmarks of whole systems share: the contestants, started and measured alike."""
