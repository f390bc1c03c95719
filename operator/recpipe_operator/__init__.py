"""The operator: makes the cluster and Pulsar match each RecommenderPipeline, and says how far they do."""
