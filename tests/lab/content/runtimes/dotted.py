"""Runs an instruction that an older CPU does not have, at each inference (`--runtime dotted`)."""

import _answers
import _dot

PRECISIONS = ("fp32",)
OPTIONS = {}
CONVERTERS = ()


def export(variant, target, precision, options, out):
    out.write_text("fine")
    return {"ops_executed": 0}


def versions():
    return {"dotted": "1"}


def load(path, options):
    return _answers.Session(options, _dot.dot)
