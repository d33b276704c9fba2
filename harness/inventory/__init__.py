"""`inventory.yaml` and the profiles it names -> Devices. The second door: every rule about user YAML is here.

An error names file, line, key, rule, value and the nearest known key. The inventory is, in this order, the file given
by `--inventory`, `./inventory.yaml`, or the one that ships.

    rules.py      what a host, a folder, a name must look like
    strict.py     what all models have in common
    shape.py      the two files as pydantic models, a description for every key
    shape_nightly.py  `nightly:`, likewise
    tree.py       YAML -> a checked model, or an error with its line
    profiles.py   devices/profiles/<name>.yaml -> Profile
    listed.py     inventory.yaml -> Devices
    nightly.py    `nightly:` of inventory.yaml -> Matrix
    editors.py    the models as JSON Schema, for editors
"""

from harness.inventory.editors import schema
from harness.inventory.listed import device, locate, read, select
from harness.inventory.nightly import nightly
from harness.inventory.profiles import profile

__all__ = ["device", "locate", "nightly", "profile", "read", "schema", "select"]
