"""The check of data sets: what is found, missing or wrong."""
