"""`devices/profiles/<name>.yaml` -> Profile."""

from __future__ import annotations

from collections.abc import Sequence

from harness import content
from harness.inventory.shape import PowerModeFile, ProfileFile, SettingFile
from harness.inventory.tree import Step, Tree, parse, validate
from harness.records import PowerMode, Profile, System
from harness.wire import Setting


def profile(name: str) -> Profile:
    """Read `profiles/<name>.yaml`. Raises UsageError for an unknown name, InventoryError for a broken rule.

    A sensor may be named before there is a file for it: which sensors a kind of device has does not depend on that.
    """
    tree = parse(content.find("profile", name))
    entry = validate(ProfileFile, tree)
    for place, runtime in enumerate(entry.runtimes):
        tree.require_listed("runtime", runtime, content.names("runtime"), ("runtimes", place))
    for sensor, options in entry.sensors.items():
        tree.require_options(sensor, options or (), ("sensors", sensor))
    tune = {word: _settings(word, entry.tune[word], tree, ("tune", word)) for word in entry.tune}
    return Profile(
        name=name,
        description=entry.description,
        arch=entry.arch,
        runtimes=tuple(entry.runtimes),
        threads=entry.threads,
        target=entry.target,
        models=tuple(entry.models),
        systems=tuple(
            System(word, each.release, tuple(each.pythons), each.glibc, each.target)
            for word, each in entry.systems.items()
        ),
        sensors={sensor: options or {} for sensor, options in entry.sensors.items()},
        tune=tune,
        power_modes={word: _power_mode(word, mode, tune, tree) for word, mode in entry.power_modes.items()},
        cooldown_s=entry.cooldown_s,
    )


def _power_mode(name: str, entry: PowerModeFile, tune: dict[str, tuple[Setting, ...]], tree: Tree) -> PowerMode:
    """A mode with its settings, those of its fan last: a mode may set the fan's own rule anew."""
    where = ("power_modes", name)
    settings = _settings(f"power-mode.{name}", entry.settings, tree, (*where, "settings"))
    if entry.fan is not None:
        tree.require_listed("setting of `tune:`", entry.fan, tuple(tune), (*where, "fan"))
        settings += tune[entry.fan]
    return PowerMode(name, settings, entry.fan, entry.regime)


def _settings(name: str, entries: Sequence[SettingFile], tree: Tree, where: tuple[Step, ...]) -> tuple[Setting, ...]:
    """The settings called `name`; the wire's own rules hold for each."""
    settings = []
    for place, entry in enumerate(entries):
        try:
            commands = (tuple(entry.apply), tuple(entry.query), tuple(entry.restore))
            settings.append(Setting(name, entry.value, entry.file, *commands))
        except ValueError as error:
            raise tree.broken((*where, place), str(error)) from None
    return tuple(settings)
