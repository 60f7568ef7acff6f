"""What an entry of labels.yml may hold, as JSON schema (``assets/schema_labels.json``)."""

from __future__ import annotations

from typing import Any

SCORES = ("likelihood", "length", "prior", "length_and_prior")
LEVELS = ("cell", "group")

PROPERTIES: dict[str, dict[str, Any]] = {
    "name": {
        "type": "string",
        "pattern": "^[A-Za-z][A-Za-z0-9_]*$",
        "description": "Name of the label: obs['c2s_<name>'] gets it.",
    },
    "prompt": {
        "type": "string",
        "minLength": 1,
        "description": "Template that asks for it, with {cell_sentence}; built in without it.",
    },
    "candidates": {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string"},
        "description": "The answers to choose from.",
    },
    "vocabulary": {
        "type": "string",
        "minLength": 1,
        "description": "Instead of candidates: a text file with one a line, its path from the "
        "folder of labels.yml.",
    },
    "free": {
        "type": "boolean",
        "description": "Instead of candidates: the model answers in its own words.",
    },
    "level": {
        "type": "string",
        "enum": list(LEVELS),
        "description": "Whether each cell is asked about, or each group of cells.",
    },
    "score": {
        "type": "string",
        "enum": list(SCORES),
        "description": "What a candidate's likelihood is normalised by.",
    },
    "min_probability": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "As --min_probability, for this label.",
    },
    "temperature": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Divides the scores before they become probabilities.",
    },
    "measured": {
        "type": "string",
        "minLength": 1,
        "description": "Column of obs with the true label, for the evaluation.",
    },
}

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "assets/schema_labels.json",
    "title": "c2sflow labels",
    "description": "What --labels asks the model: one entry per label",
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": PROPERTIES,
        "additionalProperties": False,
        "required": ["name"],
    },
}
