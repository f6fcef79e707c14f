"""The tools: names, settings, and the functions that run them."""

from __future__ import annotations

from typing import NamedTuple

from detector.benchmarks import settings as benchmarks
from detector.settings.common import ToolSettings
from detector.settings.datasets import AnchorSettings, ConvertSettings, DataCheckSettings
from detector.settings.detect import DetectSettings
from detector.settings.evaluate import AnalyseSettings, CompareSettings, ValSettings
from detector.settings.export import ExportSettings
from detector.settings.inform import CheckSettings, InfoSettings
from detector.settings.serve import ServeSettings
from detector.settings.track import TracksSettings
from detector.settings.train import TrainSettings
from detector.settings.tune import TuneSettings


class Tool(NamedTuple):
    """A subcommand.

    Attributes:
        settings: class whose fields are the flags.
        function: ``module:function`` that runs the tool, imported only when it is called.
        settings_for: ``module:function`` from a command line to its settings class, for a tool
            whose flags depend on the model.
    """

    settings: type[ToolSettings]
    function: str
    settings_for: str | None = None


TOOLS = {
    "train": Tool(
        TrainSettings, "detector.cli.train:train", "detector.cli.train_flags:settings_for"
    ),
    "tune": Tool(TuneSettings, "detector.cli.tune:tune", "detector.cli.train_flags:tune_flags"),
    "val": Tool(ValSettings, "detector.cli.val:val"),
    "compare": Tool(CompareSettings, "detector.cli.compare:compare"),
    "analyse": Tool(AnalyseSettings, "detector.cli.analyse:analyse"),
    "detect": Tool(DetectSettings, "detector.cli.detect:detect"),
    "tracks": Tool(TracksSettings, "detector.cli.tracks:tracks"),
    "serve": Tool(ServeSettings, "detector.cli.serve:serve"),
    "convert": Tool(ConvertSettings, "detector.cli.convert:convert"),
    "export": Tool(ExportSettings, "detector.cli.export:export"),
    "info": Tool(InfoSettings, "detector.cli.info:info"),
    "anchors": Tool(AnchorSettings, "detector.cli.anchors:anchors"),
    "check": Tool(DataCheckSettings, "detector.cli.check:check"),
    "checks": Tool(CheckSettings, "detector.cli.checks:checks"),
    "benchmark train": Tool(
        benchmarks.TrainBenchmarkSettings, "detector.benchmarks.train:benchmark"
    ),
    "benchmark save": Tool(benchmarks.SaveBenchmarkSettings, "detector.benchmarks.save:benchmark"),
    "benchmark detect": Tool(
        benchmarks.DetectBenchmarkSettings, "detector.benchmarks.detect:benchmark"
    ),
    "benchmark ssd": Tool(benchmarks.SsdBenchmarkSettings, "detector.benchmarks.ssd:benchmark"),
    "benchmark backbones": Tool(
        benchmarks.BackboneBenchmarkSettings, "detector.benchmarks.backbones:benchmark"
    ),
    "benchmark int8": Tool(benchmarks.Int8BenchmarkSettings, "detector.benchmarks.int8:benchmark"),
}
"""Tools by name; a name of two words is a tool with a subject, such as ``benchmark train``."""

SCRIPTS = tuple(dict.fromkeys(name.split()[0] for name in TOOLS))
"""Names of the subcommands, each with a script ``tools/*.py``."""
