"""A device that only sleeps: it stands where a board's Python stands, and answers as an agent once did.

What a real agent said and wrote is kept in the folder of this program (`look`, `probe`, `job.json`, `events.jsonl`,
`reply.json`, and in `lasts_s` how long it shall take) and said again, so that the processor belongs to the controller.
"""

import json
import os
import sys
import time
from pathlib import Path

_BEAT_S = 5.0


def main(here: Path, agent: str, verb: str, words: list[str]) -> None:
    """Answer one verb of the agent."""
    if verb in ("look", "probe"):
        sys.stdout.write((here / verb).read_text())
    elif verb == "holder":
        print(json.dumps({"holder": json.loads((Path(words[0]) / "lock").read_text())}))
    elif child := os.fork():
        print(json.dumps({"pid": child}))
    else:
        os.setsid()
        for stream in range(3):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        _tell(here, Path(words[0]), words[1], agent)


def _tell(here: Path, workdir: Path, name: str, agent: str) -> None:
    """Write the journal line by line, each when it is time, with this job's names; then the reply."""
    folder = workdir / "jobs" / name
    old, new = (json.loads((place / "job.json").read_text()) for place in (here, folder))
    ids = {case["label"]: case["case_id"] for case in new["cases"]}
    names = [(old["job"], new["job"]), (old["run"], new["run"])]
    names += [(case["case_id"], ids[case["label"]]) for case in old["cases"]]

    def renamed(text: str) -> str:
        for before, after in names:
            text = text.replace(before, after)
        return text

    lines, began = (here / "events.jsonl").read_text().splitlines(keepends=True), time.monotonic()
    times = [json.loads(line)["t_ns"] for line in lines]
    pace = float((here / "lasts_s").read_text()) / (times[-1] - times[0])
    signed = {"run": new["run"], "job": name, "pid": os.getpid(), "agent": agent}
    with (folder / "events.jsonl").open("a", buffering=1) as journal:
        for line, t_ns in zip(lines, times, strict=True):
            while (left := began + (t_ns - times[0]) * pace - time.monotonic()) > 0:
                (workdir / "lock").write_text(json.dumps({**signed, "beat": time.monotonic()}))
                time.sleep(min(_BEAT_S, left))
            journal.write(renamed(line))
    (workdir / "lock").write_text("")
    (folder / ".reply").write_text(renamed((here / "reply.json").read_text()))
    (folder / ".reply").rename(folder / "reply.json")


if __name__ == "__main__":
    main(Path(sys.argv[0]).resolve().parent, Path(sys.argv[1]).name, sys.argv[2], sys.argv[3:])
