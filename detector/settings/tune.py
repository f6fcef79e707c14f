"""Settings of ``tune``: those of the search, beside those of the training that is searched for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import pydantic
from pydantic import Field

from detector.settings.train import TrainSettings
from detector.settings.values import Count
from detector.utils.yaml_file import Strict

Value = bool | int | float | str
"""Values of a setting that a search chooses from."""


class SearchSettings(Strict):
    """Search."""

    space: str = Field(description="settings to search and their ranges, cfg/tune/*.yaml")
    trials: Count = Field(20, description="trainings in all, over all processes and restarts")
    prune: bool = Field(
        True, description="stop a trial whose metric is below the median of the earlier ones"
    )
    html: Path | None = Field(None, description="write the report to this file as an HTML page")


class Range(Strict):
    """Values that one setting may take."""

    kind: Literal["float", "int", "log", "choice"]
    low: float | None = None
    high: float | None = None
    values: tuple[Value, ...] = ()

    @pydantic.model_validator(mode="after")
    def _is_complete(self) -> Range:
        """Reject ends without order, and keys of another kind."""
        if self.kind == "choice":
            if self.low is not None or self.high is not None:
                raise ValueError("choice has values, not low and high")
            if len({(type(value), value) for value in self.values}) < max(len(self.values), 2):
                raise ValueError("expected two or more values, each once")
            return self
        if self.values:
            raise ValueError(f"{self.kind} has low and high, not values")
        if self.low is None or self.high is None:
            raise ValueError(f"{self.kind} needs low and high")
        if not self.low < self.high:
            raise ValueError(f"expected low below high, found {self.low:g} and {self.high:g}")
        if self.kind == "log" and self.low <= 0:
            raise ValueError(f"log needs a low above 0, found {self.low:g}")
        if self.kind == "int" and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"int needs whole ends, found {self.low:g} and {self.high:g}")
        return self


class TuneSettings(SearchSettings, TrainSettings):
    """Search for the settings of a training."""

    project: Path = Field(Path("runs/tune"), description="folder of studies")
    name: str = Field("study", description="the study's folder; its name continues a study")


@cache
def tune_settings(training: type[TrainSettings]) -> type[TrainSettings]:
    """Return the settings of a search for those of a training, with the settings of its head."""
    own = {
        name: (field.annotation, field)
        for name, field in TuneSettings.model_fields.items()
        if name in ("project", "name")
    }
    return pydantic.create_model(  # type: ignore[call-overload, no-any-return]
        "TuneSettings",
        __base__=(SearchSettings, training),
        __doc__=TuneSettings.__doc__,
        **own,
    )
