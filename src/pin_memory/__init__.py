"""Domain-generalised semantic segmentation with a categorical memory."""
