"""Loading: augmentation, sampling, and the data modules that compose domains."""
