"""From routes to training data: collection, cleaning, index, language labels, dreaming, buckets."""
