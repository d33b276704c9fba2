"""A wall clock that can be set while a command runs, for this command and all its children; the machine's own stays as it is.

A few lines of C between a program and the C library; libfaketime 0.9.10 would do, but time.sleep fails under it. What is
monotonic stays so, as it does where a clock is set.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long long *ahead_s;

__attribute__((constructor)) static void begin(void) {
    int fd = open(getenv("SHIFTED_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *shared = fd < 0 ? MAP_FAILED : mmap(0, sizeof *ahead_s, PROT_READ, MAP_SHARED, fd, 0);
    ahead_s = shared == MAP_FAILED ? 0 : shared;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && ahead_s && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead_s;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    int failed = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec, now->tv_usec = precise.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"""


def why_not() -> str | None:
    """Return why no clock can be shifted here, or None."""
    return None if shutil.which("cc") else "not installed: a C compiler"


class ShiftedClock:
    """A clock that runs some seconds ahead of the machine's, 0 at first."""

    def __init__(self, folder: Path) -> None:
        self.library, self.file = folder / "shifted_clock.so", folder / "shifted_clock"
        source = folder / "shifted_clock.c"
        source.write_text(_SOURCE)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.library, source, "-ldl"], check=True)
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a command needs to go by this clock."""
        return {"LD_PRELOAD": str(self.library), "SHIFTED_CLOCK": str(self.file)}

    def set(self, ahead_s: float) -> None:
        """Set it; whoever goes by it sees that at once."""
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("q", round(ahead_s)))
