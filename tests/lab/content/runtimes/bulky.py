"""Artifacts of 6 MB that nothing compresses: a transfer that lasts (`--runtime bulky`)."""

import random

import _answers

PRECISIONS = ("fp32",)
OPTIONS = {}
CONVERTERS = ()
SIZE_BYTES = 6_000_000


def export(variant, target, precision, options, out):
    out.write_bytes(random.Random(variant.name).randbytes(SIZE_BYTES))
    return {"ops_executed": 0}


def versions():
    return {"bulky": "1"}


def load(path, options):
    return _answers.Session(options)
