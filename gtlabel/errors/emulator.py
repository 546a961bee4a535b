"""Errors of the emulator."""

from __future__ import annotations

from gtlabel.errors.root import GtlabelError


class EmulatorError(GtlabelError):
    """AWS's protocol on this machine."""


class PortInUseError(EmulatorError):
    """Something else listens on the port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"port {port} on {host} is in use; stop what listens there or pick another with --port"
        )
        self.host = host
        self.port = port


class StateInUseError(EmulatorError):
    """Another emulator has the state folder open."""

    def __init__(self, folder: str, holder: str) -> None:
        super().__init__(
            f"the state folder {folder} is in use by {holder}; "
            "stop that emulator with `gtlabel local down` or pick another folder with --state"
        )
        self.folder = folder


class EmulatorNotReadyError(EmulatorError):
    """The emulator did not come up, or went away."""


class MotoContractError(EmulatorError):
    """What the emulator stands on lacks something that it leans on."""
