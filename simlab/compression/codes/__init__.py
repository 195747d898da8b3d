"""Source codes of quantized vectors, as real bit streams."""
