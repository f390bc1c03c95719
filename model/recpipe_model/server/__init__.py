"""TensorFlow Serving's API for one machine: `python -m recpipe_model.server`.

No TensorFlow Serving binary can be had from package registries, so this is its API in Python, over the same protocol
buffers: PredictionService.Predict and GetModelMetadata, ModelService, gRPC health, the REST endpoints, version
policies and labels, warm-up requests, and the same errors. It runs models with TensorFlow itself. It has no Classify,
Regress, MultiInference, SessionRun, request batching or request logging.
"""
