"""What all models of YAML files have in common: no unknown keys, no conversions, no key without a value."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator


class Strict(BaseModel):
    """A mapping of a YAML file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _has_a_value(cls, value: Any) -> Any:
        """`host:` with nothing behind it is no way to say: this machine."""
        if value is None:
            raise ValueError("has no value: give one, or drop the line")
        return value
