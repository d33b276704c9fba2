"""Device trees as kernels make them, below a folder of a test's own: links as in /sys, files that a test may change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# Rails: mV, mA. All shunts of the first two 5 mOhm, as on the developer kits.
ORIN_NANO = {"VDD_IN": (5000, 960), "VDD_CPU_GPU_CV": (5000, 104), "VDD_SOC": (5000, 288)}
AGX = {"VDD_GPU_SOC": (19992, 120), "VDD_CPU_CV": (19992, 20), "VIN_SYS_5V0": (5000, 808)}
AGX_SECOND = {"NC": (0, 0), "VDDQ_VDD2_1V8AO": (5000, 60), "nc": (0, 0)}  # "nc" stands for a second NC


def put(folder: Path, files: Mapping[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (folder / name).write_text(f"{value}\n")


def hwmon(root: Path, address: str, number: int, files: Mapping[str, object]) -> Path:
    """One chip below its I2C device, linked into /sys/class/hwmon; returns its folder there."""
    device = root / "sys/devices/platform/bus/i2c" / f"i2c-{address.split('-')[0]}" / address
    real = device / "hwmon" / f"hwmon{number}"
    put(real, files)
    (real / "device").symlink_to(Path("../.."))
    listed = root / "sys/class/hwmon" / f"hwmon{number}"
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.symlink_to(os.path.relpath(real, listed.parent))
    driver = root / "sys/bus/i2c/drivers" / str(files["name"]) / address
    driver.parent.mkdir(parents=True, exist_ok=True)
    driver.symlink_to(os.path.relpath(device, driver.parent))
    return listed


def ina3221(root: Path, address: str, number: int, rails: Mapping[str, tuple[int, int]], **more: object) -> Path:
    """An INA3221 with up to three rails, its shunt channels and their sum; `more` adds files or changes them."""
    files: dict[str, object] = {"name": "ina3221", "update_interval": 7, "samples": 1}
    for i, (label, (volt, ampere)) in enumerate(rails.items(), start=1):
        files |= {f"in{i}_label": label.upper(), f"in{i}_enable": 1, f"in{i}_input": volt, f"curr{i}_input": ampere}
        files |= {f"shunt{i}_resistor": 5000, f"in{i + 3}_input": ampere * 5, f"curr{i}_crit": 7784}
    currents = sum(ampere for _, ampere in rails.values())
    files |= {"in7_label": "sum of shunt voltages", "in7_input": currents * 5, "curr4_input": currents}
    return hwmon(root, address, number, {**files, **more})


def jetpack_4(root: Path, address: str, rails: Mapping[str, tuple[int, int, int]]) -> Path:
    """The driver of JetPack 4: iio, with power in mW; returns its folder."""
    folder = root / "sys/bus/i2c/drivers/ina3221x" / address / "iio:device0"
    files: dict[str, object] = {"name": "ina3221x"}
    for i, (label, (volt, ampere, power)) in enumerate(rails.items()):
        files |= {f"rail_name_{i}": label, f"in_voltage{i}_input": volt, f"in_current{i}_input": ampere}
        files |= {f"in_power{i}_input": power}
    put(folder, files)
    return folder


def usb_c(root: Path) -> None:
    """What a USB-C port agreed with its charger: 5 V and 3 A, measured by nobody."""
    put(
        root / "sys/class/power_supply/ucsi-source-psy-1-0008",
        {"type": "USB", "voltage_now": 5000000, "current_now": 3000000},
    )
    put(root / "sys/class/hwmon/hwmon9", {"name": "ucsi_source_psy_1_0008", "in0_input": 5000, "curr1_input": 3000})
