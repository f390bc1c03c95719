"""The models that the conformance tests ask for: `python conformance.py FOLDER` lays them out for any server.

    docker run -p 8500:8500 -p 8501:8501 -v FOLDER:/models tensorflow/serving:2.19.1 \\
        --model_config_file=/models/models.config --allow_version_labels_for_unavailable_models=true
    make conformance TFS=localhost:8500
"""

import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

MODELS = """
model_config_list {{
  config {{
    name: "adder" base_path: "{root}/adder" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 2 }}
  }}
  config {{ name: "echo" base_path: "{root}/echo" model_platform: "tensorflow" }}
  config {{ name: "warmed" base_path: "{root}/warmed" model_platform: "tensorflow" }}
  config {{ name: "unwarmed" base_path: "{root}/unwarmed" model_platform: "tensorflow" }}
  config {{ name: "retrieval" base_path: "{root}/retrieval" model_platform: "tensorflow" }}
  config {{ name: "misled" base_path: "{root}/misled" model_platform: "tensorflow" }}
}}
"""


def copy_version(saved_models, name, base_path, version, *, warm_up=None, corrupt=False, batch=None):
    draft = base_path / f".{version}.writing"
    shutil.copytree(saved_models / name, draft)
    if warm_up is not None:
        (draft / "assets.extra").mkdir()
        shutil.copy(saved_models / warm_up, draft / "assets.extra" / "tf_serving_warmup_requests")
    if batch is not None:
        (draft / "assets.extra").mkdir()
        (draft / "assets.extra" / "batching_params.pbtxt").write_text(f"max_batch_size {{ value: {batch} }}")
    if corrupt:
        os.truncate(draft / "variables" / "variables.data-00000-of-00001", 0)
    draft.rename(base_path / str(version))


def lay_out(publish, root, as_served):
    """All models under `root`, and a configuration for a server that sees them under `as_served`."""
    for name in ("adder", "echo", "warmed", "unwarmed", "retrieval", "misled"):
        (root / name).mkdir()
    publish("adder", root / "adder", 1)
    publish("adder", root / "adder", 2)
    publish("echo", root / "echo", 7)
    publish("counter", root / "warmed", 1, warm_up="warm_up_requests")
    publish("counter", root / "unwarmed", 1)
    publish("retrieval", root / "retrieval", 1)
    publish("counter", root / "misled", 1, warm_up="wrong_warm_up_requests")
    (root / "models.config").write_text(MODELS.format(root=as_served))


def main(folder):
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as built:
        subprocess.run([sys.executable, Path(__file__).with_name("build_models.py"), built], check=True)
        lay_out(partial(copy_version, Path(built)), folder, "/models")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
