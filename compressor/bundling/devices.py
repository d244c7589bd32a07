"""The devices that bundles are packed for: their profiles, by name or from a TOML file."""

from __future__ import annotations

import functools
from pathlib import Path

from compressor.errors import UsageError
from compressor.foundation import deploy_errors
from deploy.profile import PROFILES, SUFFIX, DeviceProfile, read_profile


@functools.cache
def known() -> tuple[DeviceProfile, ...]:
    """The profiles that come with this program, sorted by their names."""
    return tuple(read_profile(path) for path in sorted(PROFILES.glob(f"*{SUFFIX}")))


def find_device(device: str | Path) -> DeviceProfile:
    """The profile of this name, or the one in this TOML file.

    Anything ending in .toml, or with a folder in it, is a file. Raises UsageError for an unknown
    name, and for a file that is missing, is no profile, or reuses the name of a known one.
    """
    text = str(device)
    if isinstance(device, Path) or text.endswith(SUFFIX) or Path(text).name != text:
        with deploy_errors(UsageError):
            profile = read_profile(text)
        if any(profile.name == one.name and profile != one for one in known()):
            raise UsageError(
                "a profile that comes with compressor has this name, and says something else",
                value=f"{profile.name} (in {text})",
                hint="name your device otherwise",
            )
        return profile
    profiles = {profile.name: profile for profile in known()}
    if text not in profiles:
        raise UsageError(
            "unknown device",
            value=text,
            hint=f"choose from {', '.join(profiles)}, or give a file of your own, NAME{SUFFIX}",
        )
    return profiles[text]
