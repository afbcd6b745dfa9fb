"""Few-shot segmentation: folds of classes, and episodes of support and query images that are drawn from any domains."""
