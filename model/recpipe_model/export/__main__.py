"""Exports a checkpoint's model: python -m recpipe_model.export MODEL_FILE MODELS_DIR VERSION."""

import argparse
import sys
from pathlib import Path

from recpipe_model.export import ExportError, export
from recpipe_model.hybrid import HybridModel


def main() -> int:
    parser = argparse.ArgumentParser(prog="recpipe_model.export", description=__doc__)
    parser.add_argument("model_file", type=Path)
    parser.add_argument("models", type=Path, help="base path, as TensorFlow Serving has it")
    parser.add_argument("version", type=int)
    given = parser.parse_args()
    try:
        export(HybridModel.load(given.model_file), given.models, given.version)
    except (ExportError, ValueError, OSError) as error:
        sys.stderr.write(f"version {given.version} was not published: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
