"""Recorded trees of /proc and /sys, small: a Raspberry Pi 5, a Jetson Orin Nano, an x86 box."""

from __future__ import annotations

from pathlib import Path

COMMON = {
    "proc/loadavg": "0.50 0.40 0.30 2/100 42\n",
    "proc/meminfo": "MemTotal: 2000 kB\nMemAvailable:  1000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
    "proc/vmstat": "pswpin 3\npswpout 0\npgmajfault 7\noom_kill 1\n",
    "proc/stat": "cpu  100 1 50 9000 5 2 3 40 0 0\ncpu0 100 1 50 9000 5 2 3 40 0 0\n",
}
_CPU = "sys/devices/system/cpu/"
PI = COMMON | {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/device-tree/chosen/power/max_current": "\0\0\x13\x88",
    "proc/cpuinfo": "processor : 0\nFeatures : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd0b\n",
    "proc/mounts": "/dev/mmcblk0p2 / ext4 rw 0 0\nproc /proc proc rw 0 0\n",
    "sys/class/block/mmcblk0/device/type": "SD\n",
    _CPU + "cpufreq/policy0/scaling_cur_freq": "1500000\n",
    _CPU + "cpufreq/policy0/cpuinfo_cur_freq": "1500398\n",
    _CPU + "cpufreq/policy0/scaling_governor": "ondemand\n",
    _CPU + "cpufreq/policy0/scaling_max_freq": "2400000\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "1\n",
    "sys/class/thermal/cooling_device0/max_state": "4\n",
    "sys/class/hwmon/hwmon2/name": "pwmfan\n",
    "sys/class/hwmon/hwmon2/fan1_input": "2904\n",
    "sys/class/hwmon/hwmon3/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon3/in0_lcrit_alarm": "0\n",
    "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "50000\n",
}
JETSON = COMMON | {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1\nmore\n",
    _CPU + "cpufreq/policy0/scaling_cur_freq": "1510400\n",
    _CPU + "cpufreq/policy4/scaling_cur_freq": "1510400\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51000\n",
    "sys/class/thermal/thermal_zone1/type": "cv0-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    "sys/class/devfreq/17000000.gpu/cur_freq": "624750000\n",
    "sys/devices/platform/soctherm-oc-event/hwmon/hwmon1/name": "soctherm_oc\n",
    "sys/devices/platform/soctherm-oc-event/hwmon/hwmon1/oc1_event_cnt": "0\n",
    "sys/devices/platform/soctherm-oc-event/hwmon/hwmon1/oc3_event_cnt": "27390\n",
}
X86 = (
    COMMON
    | {
        "proc/cpuinfo": "processor : 0\nmodel name : Intel(R) N100\nflags : fpu avx2\n",
        "proc/7/comm": "irqbalance\n",
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n',
        _CPU + "intel_pstate/no_turbo": "1\n",
        _CPU + "smt/control": "off\n",
        _CPU + "cpu0/cpuidle/state0/name": "POLL\n",
        _CPU + "cpu0/cpuidle/state0/disable": "0\n",
        _CPU + "cpu0/cpuidle/state1/name": "C1\n",
        _CPU + "cpu0/cpuidle/state1/disable": "1\n",
        _CPU + "cpu0/thermal_throttle/core_throttle_count": "4\n",
        _CPU + "cpu1/thermal_throttle/core_throttle_count": "1\n",
        _CPU + "cpu0/thermal_throttle/package_throttle_count": "0\n",
        "sys/class/thermal/thermal_zone0/type": "acpitz\n",
        "sys/class/thermal/thermal_zone0/temp": "27800\n",
        "sys/class/thermal/thermal_zone1/type": "acpitz\n",
        "sys/class/thermal/thermal_zone1/temp": "29800\n",
    }
    | {f"{_CPU}cpufreq/policy{n}/scaling_cur_freq": f"{n + 1}00000\n" for n in range(12)}
)

PI_BITS = "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"
ZONE = "sys/class/thermal/thermal_zone0/temp"
OC3 = "sys/devices/platform/soctherm-oc-event/hwmon/hwmon1/oc3_event_cnt"
CORE = _CPU + "cpu0/thermal_throttle/core_throttle_count"


def write(root: Path, files: dict[str, str]) -> Path:
    """Write the files below `root`, each whole or not at all: an agent may be reading."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        fresh = (root / name).with_name((root / name).name + ".new")
        fresh.write_text(text, encoding="latin-1")
        fresh.replace(root / name)
    return root
