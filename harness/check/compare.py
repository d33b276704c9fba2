"""What a device is, as its agent told it, against its profile: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from harness import wire
from harness.check import cpus
from harness.check.points import Point, Said, listed
from harness.records import Profile, System

_OLDEST = (3, 8)  # of what travels
_64_BIT = ("aarch64", "x86_64")
_OTHER_PROFILE = "Give the device the profile of what it is, in the inventory (`harness profiles` lists them)."


def compare(profile: Profile, system: str | None, facts: Mapping[str, Any]) -> tuple[Point, ...]:
    """Return a point for all that profile and facts say; `system` is the one that the inventory names, if it does."""
    said = Said(facts)
    runs = _running(profile, system, said)
    return (
        *_board(profile, said),
        *_architecture(profile, said),
        *_cpu(profile, said),
        *_system(profile, system, said),
        _python(runs, said),
        _libc(runs, said),
        *_gpus(profile, said),
        *_governor(profile, said),
        *_power_mode(profile, said),
        *_rest(said),
    )


# --- the machine ---------------------------------------------------------------------------------------------------


def _board(profile: Profile, said: Said) -> Iterator[Point]:
    found, expected = said.text("board"), " or ".join(profile.models)
    if not profile.models:
        yield from [Point("board", found)] if found else []
    elif found is None:
        yield Point(
            "board", "its device tree gives no model", "unknown", expected, "Is it a board of this kind at all?"
        )
    elif any(re.fullmatch(model, found) for model in profile.models):
        yield Point("board", found)
    else:
        yield Point("board", found, "differs", expected, _OTHER_PROFILE)


def _architecture(profile: Profile, said: Said) -> Iterator[Point]:
    """The kernel's word for the machine, and the userland: a 64-bit kernel may run a 32-bit one."""
    machine, bits = said.text("machine") or "not told", said.number("bits")
    if profile.arch in ("any", machine):
        yield Point("architecture", machine)
    else:
        yield Point("architecture", machine, "differs", profile.arch, _OTHER_PROFILE, stops=True)
    expected = 64 if profile.arch in _64_BIT else None
    if bits is None:
        yield Point("userland", "its Python does not tell", "unknown", f"{expected}-bit" if expected else None)
    elif expected in (None, bits):
        yield Point("userland", f"{bits:g}-bit")
    else:
        advice = "Wheels are no longer made for 32-bit userlands, also on a 64-bit kernel: install the 64-bit system."
        yield Point("userland", f"{bits:g}-bit", "differs", f"{expected}-bit", advice, stops=True)


def _cpu(profile: Profile, said: Said) -> Iterator[Point]:
    """Its name against that which code is made for; what that code needs against what the processor says it has."""
    name = listed(wire.core_names(said.texts("cpu_parts")), " and ") or said.text("cpu")
    expected = profile.target.get("cpu")
    count = said.number("cpus")
    found = f"{name or 'not told'}, {count:g} cores" if count else name or "not told"
    if expected is None:
        yield Point("cpu", found, "ok" if name else "unknown")
        return
    if name is None:
        yield Point("cpu", found, "unknown", expected)
    elif cpus.is_part(expected) and expected not in name.split(" and "):
        yield Point("cpu", found, "differs", expected, _OTHER_PROFILE)
    else:
        yield Point("cpu", found)
    yield from _features(profile, expected, said)


def _features(profile: Profile, expected: str, said: Said) -> Iterator[Point]:
    """What is lacking, where the list is one of this architecture: a 32-bit program is shown another."""
    features = said.answer.get("cpu_features")
    if said.text("machine") != profile.arch or said.number("bits") != 64 or not isinstance(features, str):
        return
    lacking = cpus.lacking(expected, features)
    if lacking:
        advice = f"Code made for {expected} ends there with an illegal instruction: use a profile with another `cpu`."
        yield Point("cpu features", f"no {', '.join(lacking)}", "differs", f"those of {expected}", advice)


def _gpus(profile: Profile, said: Said) -> Iterator[Point]:
    expected = profile.target.get("compute_capability")
    for gpu in said.objects("gpus"):
        name, driver, found = (gpu.text(key) for key in ("name", "driver", "compute_capability"))
        words = f"{name or 'without a name'}, driver {driver or 'not told'}, compute capability {found or 'not told'}"
        if expected and found and found != expected:
            yield Point("gpu", words, "differs", f"compute capability {expected}", _OTHER_PROFILE)
        else:
            yield Point("gpu", words)


# --- what runs on it -----------------------------------------------------------------------------------------------


def _fits(system: System, said: Said) -> bool:
    return any(re.search(system.release, text) for text in (said.text("os_image"), said.text("os")) if text)


def _expected(profile: Profile, name: str | None) -> System | None:
    """The system that is named, else the profile's first."""
    named = [system for system in profile.systems if system.name == name]
    return next(iter((*named, *profile.systems)), None)


def _running(profile: Profile, name: str | None, said: Said) -> System | None:
    """The system to compare Python and C library with: what really runs where it is known, else what is expected."""
    expected = _expected(profile, name)
    if expected is None or _fits(expected, said):
        return expected
    return next((system for system in profile.systems if _fits(system, said)), expected)


def _system(profile: Profile, name: str | None, said: Said) -> Iterator[Point]:
    expected, runs = _expected(profile, name), _running(profile, name, said)
    found = _release(said)
    if found is None:
        yield Point("system", "it names none", "unknown", expected.name if expected else None)
    elif expected is None or runs is None or _fits(expected, said):
        yield Point("system", f"{found} ({expected.name})" if expected else found)
    elif runs is not expected:
        advice = f"Say `system: {runs.name}` of this device in the inventory: what is compiled for it must fit."
        yield Point("system", f"{found} ({runs.name})", "differs", expected.name, advice)
    else:
        known = ", ".join(system.name for system in profile.systems)
        advice = (
            f"Known are {known}. It may work: packages are looked for by its Python and C library, not by its name."
        )
        yield Point("system", found, "differs", expected.name, advice)


def _release(said: Said) -> str | None:
    """The system in words, with the image that it came as."""
    l4t, jetpack, image = (said.text(key) for key in ("l4t", "jetpack", "raspberry_pi_os"))
    parts = (
        said.text("os") or (None if l4t else said.text("os_image")),
        l4t and (f"L4T {l4t}, JetPack {jetpack}" if jetpack else f"L4T {l4t}"),
        image and f"Raspberry Pi OS of {image}",
    )
    return ", ".join(filter(None, parts)) or None


def _python(runs: System | None, said: Said) -> Point:
    found = said.text("python")
    version = re.match(r"([0-9]+)\.([0-9]+)", found or "")
    expected = " or ".join(runs.pythons) if runs else "3.8 or newer"
    if found is None or version is None:
        return Point("python", found or "it does not tell", "unknown", expected)
    if (int(version[1]), int(version[2])) < _OLDEST:
        advice = "Install 3.8 or newer there, and say where it is: `python: /usr/bin/python3.11` in the inventory."
        return Point("python", found, "differs", expected, advice, stops=True)
    if runs and version[0] not in runs.pythons:
        advice = f"{runs.name} comes with another. Packages are looked for by the one that is used."
        return Point("python", found, "differs", expected, advice)
    return Point("python", found)


def _libc(runs: System | None, said: Said) -> Point:
    """An older one than the system's lacks what wheels need; a newer one has all that they need."""
    found = said.text("libc")
    version = re.fullmatch(r"glibc-2\.([0-9]+).*", found or "")
    expected = f"glibc {runs.glibc}" if runs else "glibc"
    if version is None:
        advice = "Packages are made for glibc: with another C library only a runtime that is there already can be used."
        return Point("libc", found or "it does not tell", "unknown", expected, advice)
    if runs and int(version[1]) < int(runs.glibc.partition(".")[2] or 0):
        return Point("libc", f"glibc 2.{version[1]}", "differs", expected, "Newer packages will not be found for it.")
    return Point("libc", f"glibc 2.{version[1]}")


# --- settings ------------------------------------------------------------------------------------------------------


def _governor(profile: Profile, said: Said) -> Iterator[Point]:
    governors = said.texts("governors")
    if not governors:
        yield Point("governor", "the kernel tells none: its clocks cannot be read or set", "unknown")
        return
    found = listed(governors)
    if "governor" in profile.tune and governors != ("performance",):
        found += "; --tune governor holds it at performance"
    yield Point("governor", found)


def _power_mode(profile: Profile, said: Said) -> Iterator[Point]:
    """The mode in force, by the name that `--power-mode` knows it by."""
    found, expected = said.text("power_mode"), " or ".join(profile.power_modes)
    if not profile.power_modes:
        yield from [Point("power mode", found)] if found else []
        return
    if found is None:
        reason = said.text("power_mode_reason") or "it does not tell"
        yield Point("power mode", reason, "missing", expected, "--power-mode cannot be used there.")
        return
    modes = profile.power_modes.items()
    known = [name for name, mode in modes if any(re.search(each.value, found) for each in mode.settings if each.query)]
    if known:
        yield Point("power mode", found if found in known else f"{found} (--power-mode {known[0]})")
    else:
        yield Point("power mode", found, "differs", expected, "Name one: a run sets it, and puts back what was there.")


def _rest(said: Said) -> Iterator[Point]:
    """What has nothing to be compared with."""
    if kernel := said.text("kernel"):
        yield Point("kernel", kernel)
    if storage := said.text("root_device"):
        yield Point("root device", storage)
    if (supply := said.number("supply_max_ma")) is not None:
        yield Point("supply", f"{supply / 1000:g} A at most")
