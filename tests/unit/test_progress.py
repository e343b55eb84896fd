"""Lines say what happened, neither too often nor too rarely."""

import io

from rolemarl_jax.report import progress
from rolemarl_jax.report.progress import Status


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_by_hand():
    out, clock = io.StringIO(), Clock()
    shown = progress.make(out, clock)
    shown.header("acorm on smax/3m", {"device": "cpu x 2", "seeds": "4"})
    for index in range(6):
        clock.now = 4.0 * index
        shown.update(Status("train", 100 * index, 500, 10 * index, 4, [1.0, 3.0], []))
    shown.note("checkpoint at 500")
    shown.close({"curves": "runs/a/curves.png"})
    lines = out.getvalue().splitlines()
    assert lines[:3] == ["acorm on smax/3m", "  device  cpu x 2", "  seeds   4"]
    # At 0 s, at 12 s (the first after ten seconds) and the last one at 20 s.
    assert len(lines) == 3 + 3 + 1 + 2
    assert lines[3] == "  0%  train  0/500 steps x 4 seeds  return 2.00 ± 1.00"
    assert "60%  train  300/500 steps x 4 seeds  100 env steps/s" in lines[4]
    assert "10.0 updates/s  8s left  return 2.00 ± 1.00" in lines[4]
    assert lines[5].startswith("100%")
    assert lines[-2:] == [
        "Written:",
        "  curves  runs/a/curves.png",
    ]


def test_a_new_stage_is_shown_at_once_and_measured_anew():
    out, clock = io.StringIO(), Clock()
    shown = progress.make(out, clock)
    for stage, steps, now in [("warmup", 0, 0), ("warmup", 9, 1), ("train", 10, 2)]:
        clock.now = float(now)
        shown.update(Status(stage, steps, 100, 0, 1, [], [float("nan")]))
    assert out.getvalue().splitlines() == [
        "  0%  warmup  0/100 steps x 1 seeds",
        " 10%  train  10/100 steps x 1 seeds",
    ]


def test_a_terminal_gets_a_bar_and_is_left_in_order():
    out, clock = Terminal(), Clock()
    shown = progress.make(out, clock)
    shown.header("title", {})
    for index in range(3):
        clock.now = 0.5 * index
        shown.update(Status("train", 50 * index, 100, index, 2, [1.0], [0.5, 1.0]))
    shown.close({})
    text = out.getvalue()
    assert "100/100 steps x 2 seeds" in text
    assert "win rate 75% ± 25%" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_human_units():
    cases = {0.4: "0s", 59.6: "1m00s", 200: "3m20s", 7500: "2h05m", 93600: "1d02h"}
    assert {s: progress.duration(s) for s in cases} == cases
    assert progress.size(512) == "512 B"
    assert progress.size(1.5 * 2**20) == "1.5 MiB"
    assert progress.size(3 * 2**40) == "3.0 TiB"


def test_silence(capfd):
    shown = progress.silent()
    shown.header("acorm on smax/3m", {"device": "cpu x 2"})
    shown.update(Status("train", 1, 2, 3, 4))
    shown.note("checkpoint at 500")
    shown.close({"curves": "runs/a/curves.png"})
    assert capfd.readouterr() == ("", "")


def test_members_and_those_that_diverged_are_named():
    out = io.StringIO()
    status = Status("train", 10, 10, 1, 6, frozen=2, unit="members")
    progress.make(out).update(status)
    assert "x 6 members" in out.getvalue() and "2 diverged" in out.getvalue()
