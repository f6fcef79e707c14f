"""A checkpoint says where it comes from."""

import json
import sys
from importlib.metadata import version

from detector.engine.run import provenance
from detector.settings.train import TrainSettings


def test_provenance(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/some/where/tools/train.py", "--cfg", "a b.yaml"])
    values = provenance(TrainSettings(cfg="a b.yaml", name="x"), {"train": {"labels": "0f"}})
    assert values["commands"] == ["train.py --cfg 'a b.yaml'"]
    assert values["versions"]["torch"] == version("torch")
    assert values["data"] == {"train": {"labels": "0f"}}
    assert values["settings"]["cfg"] == "a b.yaml"
    assert "name" not in values["settings"]  # it changes no weight
    assert json.loads(json.dumps(values)) == values
