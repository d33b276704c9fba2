"""edge-harness: what removing layers really buys, measured on the device."""

__version__ = "0.1.0"
