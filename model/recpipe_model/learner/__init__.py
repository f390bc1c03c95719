"""The learner: the process that owns everything learned.

Each feature row is tested before it is learned from. What must be fresh goes to the store several
times a second, the whole model is published as SavedModel versions, and checkpoints hold the
parameters together with the stream position.
"""
