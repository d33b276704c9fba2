"""Takes more memory than a board may have (`--runtime hungry`)."""

import _answers

PRECISIONS = ("fp32",)
OPTIONS = {}
CONVERTERS = ()
SIZE_BYTES = 500_000_000


def export(variant, target, precision, options, out):
    out.write_text(variant.name)
    return {"ops_executed": 0}


def versions():
    return {"hungry": "1"}


def load(path, options):
    taken = b"x" * SIZE_BYTES
    return _answers.Session(options, lambda: len(taken))
