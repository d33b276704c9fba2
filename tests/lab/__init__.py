"""The lab: devices to break. A loopback SSH server (`sshd`) and virtual arm64 boards (`device`), for tests and for `make lab`."""
