"""The features function on one machine."""

from recpipe.topics import FEATURES_GROUP
from recpipe_functions.features.function import Features
from recpipe_functions.local import run_function

if __name__ == "__main__":
    run_function("features", lambda topics: topics.clean, FEATURES_GROUP, Features)
