"""The boards that virtual devices pass for: what they answer in /sys, /proc and /etc, and the commands they have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

COMMANDS = Path(__file__).with_name("commands")
CPU = "sys/devices/system/cpu"
INA3221 = "sys/devices/platform/bus@0/c240000.i2c/i2c-1/1-0040"
GOVERNORS = "conservative ondemand userspace powersave performance schedutil"
OLD_FEATURES = "fp asimd evtstrm crc32 cpuid"
# Also the Jetson's: QEMU 7.2 emulates no cortex-a78ae, and features that are told but not there would crash programs.
A76_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"

# A Pi 5's supplies: amperes and volts.
PMIC = {
    "3V7_WL_SW": (0.083, 3.70),
    "3V3_SYS": (0.061, 3.31),
    "1V8_SYS": (0.170, 1.80),
    "DDR_VDD2": (0.023, 1.10),
    "DDR_VDDQ": (0.0, 0.60),
    "1V1_SYS": (0.186, 1.10),
    "0V8_SW": (0.316, 0.80),
    "VDD_CORE": (1.20, 0.8975),
    "3V3_DAC": (0.0003, 3.31),
    "3V3_ADC": (0.0001, 3.31),
    "0V8_AON": (0.005, 0.80),
    "HDMI": (0.022, 5.09),
}


@dataclass(frozen=True)
class Kind:
    """One kind of board. `cpu` is QEMU's name of its CPU, `part` the CPU part in /proc/cpuinfo; `policies` maps each
    cpufreq policy to its CPUs, `steps_khz` are their frequencies; `files` are what else its tree holds."""

    profile: str
    model: str
    compatible: str
    cpu: str
    part: str
    features: str
    memory_kb: int
    policies: Mapping[int, range]
    steps_khz: tuple[int, ...]
    governor: str
    commands: str
    files: Callable[[], dict[str, str]]
    links: Mapping[str, str]

    @property
    def cores(self) -> int:
        """How many CPUs the board says it has; the kernel below still schedules on this machine's."""
        return sum(map(len, self.policies.values()))


def tree(kind: Kind) -> dict[str, str]:
    """Return the files of /sys, by path without the leading slash: as the board has them when it starts."""
    everyone = f"0-{kind.cores - 1}\n"
    found = {
        "sys/firmware/devicetree/base/model": kind.model + "\0",
        "sys/firmware/devicetree/base/compatible": kind.compatible + "\0",
        **{f"{CPU}/{name}": everyone for name in ("online", "possible", "present")},
        **{f"{CPU}/cpu{n}/online": "1\n" for n in range(kind.cores)},
    }
    for first, cpus in kind.policies.items():
        found |= {f"{CPU}/cpufreq/policy{first}/{name}": text for name, text in _policy(kind, cpus).items()}
    return found | kind.files()


def links(kind: Kind) -> dict[str, str]:
    """Return the links of /sys: path to relative target."""
    cpus = {f"{CPU}/cpu{n}/cpufreq": f"../cpufreq/policy{first}" for first, cpus in kind.policies.items() for n in cpus}
    return cpus | dict(kind.links)


def cpuinfo(kind: Kind) -> str:
    """Return /proc/cpuinfo; QEMU would show this machine's."""
    part = (
        "processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n\n"
    )
    text = "".join(part.format(n=n, features=kind.features, part=kind.part) for n in range(kind.cores))
    return text + (f"Model\t\t: {kind.model}\n" if kind.model.startswith("Raspberry") else "")


def meminfo(kind: Kind) -> str:
    """Return /proc/meminfo: most of the memory free."""
    free = kind.memory_kb * 3 // 4
    rows = {"MemTotal": kind.memory_kb, "MemFree": free, "MemAvailable": free, "Buffers": 32768, "Cached": 262144}
    rows |= {"SwapCached": 0, "SwapTotal": 0, "SwapFree": 0, "Shmem": 8192}
    return "".join(f"{name + ':':<16}{kb:>8} kB\n" for name, kb in rows.items())


def commands(kind: Kind) -> dict[str, Path]:
    """Return the programs and settings of the board: path on it to the file here."""
    place = {".conf": "etc"}
    return {f"{place.get(file.suffix, 'usr/bin')}/{file.name}": file for file in (COMMANDS / kind.commands).iterdir()}


def _policy(kind: Kind, cpus: range) -> dict[str, str]:
    low, high = kind.steps_khz[0], kind.steps_khz[-1]
    return {
        "affected_cpus": " ".join(map(str, cpus)) + "\n",
        "related_cpus": " ".join(map(str, cpus)) + "\n",
        "scaling_available_frequencies": " ".join(map(str, kind.steps_khz)) + " \n",
        "scaling_available_governors": GOVERNORS + " \n",
        "scaling_driver": "cpufreq-dt\n" if kind.commands == "pi" else "tegra194\n",
        "scaling_governor": kind.governor + "\n",
        "scaling_setspeed": "<unsupported>\n",
        **{f"{name}_min_freq": f"{low}\n" for name in ("scaling", "cpuinfo")},
        **{f"{name}_max_freq": f"{high}\n" for name in ("scaling", "cpuinfo")},
        **{f"{name}_cur_freq": f"{low}\n" for name in ("scaling", "cpuinfo")},
    }


def _zones(zones: Mapping[str, int]) -> dict[str, str]:
    found = {}
    for n, (name, millidegrees) in enumerate(zones.items()):
        folder = f"sys/class/thermal/thermal_zone{n}"
        found |= {f"{folder}/type": f"{name}\n", f"{folder}/temp": f"{millidegrees}\n"}
    return found


def _fan(hwmon: int, speed: int) -> dict[str, str]:
    chip, cooling = f"sys/class/hwmon/hwmon{hwmon}", "sys/class/thermal/cooling_device0"
    return {
        f"{chip}/name": "pwmfan\n",
        f"{chip}/pwm1": "62\n",
        f"{chip}/fan1_input": f"{speed}\n",
        f"{cooling}/type": "pwm-fan\n",
        f"{cooling}/cur_state": "1\n",
        f"{cooling}/max_state": "4\n",
    }


def _pi4() -> dict[str, str]:
    return {
        **_zones({"cpu-thermal": 48312}),
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
        "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
        "sys/class/hwmon/hwmon0/temp1_input": "48312\n",
        "sys/class/hwmon/hwmon1/name": "rpi_volt\n",
        "sys/class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    }


def _pi5() -> dict[str, str]:
    lines = [f"{name + '_A':>15} current({n})={amps:.8f}A" for n, (name, (amps, _)) in enumerate(PMIC.items())]
    lines += [f"{name + '_V':>15} volt({n})={volts:.8f}V" for n, (name, (_, volts)) in enumerate(PMIC.items(), 8)]
    lines += ["        EXT5V_V volt(24)=5.09870000V", "         BATT_V volt(25)=0.00000000V"]
    return {
        **_pi4(),
        **_fan(3, 2904),
        "sys/firmware/devicetree/base/chosen/power/max_current": "\0\0\x13\x88",
        "sys/class/hwmon/hwmon2/name": "rp1_adc\n",
        "etc/lab/pmic_read_adc": "\n".join(lines) + "\n",
    }


def _jetson() -> dict[str, str]:
    zones = dict.fromkeys(("cpu-thermal", "gpu-thermal", "cv0-thermal", "soc0-thermal", "tj-thermal"), 48562)
    gpu, oc = "sys/class/devfreq/17000000.gpu", "sys/devices/platform/soctherm-oc-event/hwmon/hwmon3"
    found = {
        **_zones(zones | {"cv0-thermal": -256000}),
        **_fan(2, 1750),
        f"{INA3221}/name": "ina3221\n",
        f"{INA3221}/hwmon/hwmon1/name": "ina3221\n",
        f"{INA3221}/hwmon/hwmon1/samples": "1\n",
        f"{INA3221}/hwmon/hwmon1/update_interval": "7\n",
        f"{oc}/name": "soctherm_oc\n",
        **{f"{oc}/oc{n}_event_cnt": "0\n" for n in (1, 2, 3)},
        **{f"{oc}/oc{n}_throt_en": "1\n" for n in (1, 2, 3)},
        f"{gpu}/governor": "nvhost_podgov\n",
        f"{gpu}/available_governors": "nvhost_podgov performance userspace\n",
        f"{gpu}/available_frequencies": "306000000 408000000 510000000 612000000 714000000 816000000 918000000 1020000000\n",
        **{f"{gpu}/{name}_freq": "306000000\n" for name in ("min", "cur")},
        f"{gpu}/max_freq": "918000000\n",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed "
        "Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
        "etc/lab/emc_override": "0\n",
    }
    rails = {"VDD_IN": (4968, 960), "VDD_CPU_GPU_CV": (4960, 104), "VDD_SOC": (4960, 288)}
    for n, (label, (millivolts, milliamps)) in enumerate(rails.items(), 1):
        found |= _rail(n, label, millivolts, milliamps)
    # what the driver adds besides the rails, and a reader must leave out
    return found | {
        f"{INA3221}/hwmon/hwmon1/in7_label": "sum of shunt voltages\n",
        f"{INA3221}/hwmon/hwmon1/in7_input": "6\n",
    }


def _rail(n: int, label: str, millivolts: int, milliamps: int) -> dict[str, str]:
    values = {
        f"in{n}_label": label,
        f"in{n}_enable": 1,
        f"in{n}_input": millivolts,
        f"curr{n}_input": milliamps,
        f"shunt{n}_resistor": 5000,
        f"curr{n}_max": 4984,
        f"curr{n}_crit": 4984,
        f"in{n + 3}_input": milliamps * 5 // 1000,
    }
    return {f"{INA3221}/hwmon/hwmon1/{name}": f"{value}\n" for name, value in values.items()}


def _pi(number: int, revision: str, soc: str, **rest: object) -> Kind:
    return Kind(
        profile=f"raspberry-pi-{number}",
        model=f"Raspberry Pi {number} Model B Rev {revision}",
        compatible=f"raspberrypi,{number}-model-b\0brcm,{soc}",
        policies={0: range(4)},
        governor="ondemand",
        commands="pi",
        links={},
        **rest,  # type: ignore[arg-type]
    )


_UP = "../../devices/platform"
KINDS = {
    "pi4": _pi(
        *(4, "1.4", "bcm2711"),
        cpu="cortex-a72",
        part="0xd08",
        features=OLD_FEATURES,
        memory_kb=3_884_000,
        steps_khz=(600000, 750000, 1000000, 1500000, 1800000),
        files=_pi4,
    ),
    "pi5": _pi(
        *(5, "1.0", "bcm2712"),
        cpu="cortex-a76",
        part="0xd0b",
        features=A76_FEATURES,
        memory_kb=8_256_000,
        steps_khz=(1500000, 1800000, 2100000, 2400000),
        files=_pi5,
    ),
    "jetson": Kind(
        profile="jetson-orin-nano",
        model="NVIDIA Jetson Orin Nano Developer Kit",
        compatible="nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234",
        cpu="cortex-a76",
        part="0xd42",
        features=A76_FEATURES,
        memory_kb=7_802_880,
        policies={0: range(4), 4: range(4, 6)},
        steps_khz=(729600, 806400, 960000, 1113600, 1344000, 1497600, 1728000),
        governor="schedutil",
        commands="jetson",
        files=_jetson,
        links={
            "sys/class/hwmon/hwmon1": f"{_UP}/bus@0/c240000.i2c/i2c-1/1-0040/hwmon/hwmon1",
            "sys/class/hwmon/hwmon3": f"{_UP}/soctherm-oc-event/hwmon/hwmon3",
            f"{INA3221}/hwmon/hwmon1/device": "../..",
            "sys/bus/i2c/drivers/ina3221/1-0040": "../../../../devices/platform/bus@0/c240000.i2c/i2c-1/1-0040",
        },
    ),
}
