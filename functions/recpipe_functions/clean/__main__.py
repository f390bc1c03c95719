"""The clean function on one machine."""

from recpipe.topics import CLEAN_GROUP
from recpipe_functions.clean.function import Clean
from recpipe_functions.local import run_function

if __name__ == "__main__":
    run_function("clean", lambda topics: topics.events, CLEAN_GROUP, Clean)
