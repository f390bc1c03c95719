"""A pipeline's YAML file, read with errors that say which field, which value and what to do."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from recpipe.spec import RecommenderPipeline


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file."""

    field: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.value}: {self.remedy}" if self.value else f"{self.field}: {self.remedy}"


class InvalidPipelineError(ValueError):
    """The file is not a valid RecommenderPipeline; `problems` says why."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path, self.problems = path, problems
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))


def load_pipeline(path: Path) -> RecommenderPipeline:
    """Reads and validates one resource; raises InvalidPipelineError naming every problem at once."""
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise InvalidPipelineError(
            path, [Problem("file", "", "does not exist; see examples/ for one to copy")]
        ) from error
    except yaml.YAMLError as error:
        raise InvalidPipelineError(path, [Problem("file", "", f"is not YAML: {error}")]) from error
    try:
        return RecommenderPipeline.model_validate(document)
    except ValidationError as error:
        raise InvalidPipelineError(path, [_problem(details) for details in error.errors()]) from error


def write_pipeline(pipeline: RecommenderPipeline, path: Path) -> Path:
    """Writes a resource so that `load_pipeline` gives the same; the path."""
    document = pipeline.model_dump(mode="json", by_alias=True, exclude_unset=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def _problem(details: ErrorDetails) -> Problem:
    location = details["loc"]
    field = ".".join(str(part) for part in location) or "file"
    value = "" if isinstance(details["input"], dict | list) else repr(details["input"])
    match details["type"]:
        case "extra_forbidden":
            known = _fields_at(location[:-1])
            close = difflib.get_close_matches(str(location[-1]), known, n=1)
            remedy = (
                f"no such field; did you mean {close[0]}?"
                if close
                else f"no such field; there is {', '.join(known)}"
            )
            return Problem(field, "", remedy)
        case "missing":
            return Problem(field, "", "is required")
        case "value_error":
            return Problem(field, value, str(details["ctx"]["error"]))
        case _:
            return Problem(field, value, details["msg"][0].lower() + details["msg"][1:])


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """Names that may stand at a place in the resource."""
    model: Any = RecommenderPipeline
    for part in location:
        fields = {field.alias or name: field for name, field in getattr(model, "model_fields", {}).items()}
        model = _model_in(fields[str(part)].annotation) if str(part) in fields else model
    return sorted(field.alias or name for name, field in getattr(model, "model_fields", {}).items())


def _model_in(annotation: Any) -> Any:
    """The model inside an optional, a list or a dict of models."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for argument in get_args(annotation) if (model := _model_in(argument))), None)
