"""Readers: each finds the images and labels of one data set as it is published."""
