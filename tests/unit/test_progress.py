"""Lines say what happened, neither too often nor too rarely."""

import io
import time

from rolemarl_jax.report import progress
from rolemarl_jax.report.progress import Outcome, Status
from rolemarl_jax.run import session


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
        now = Outcome(100 * index, [1.0, 3.0])
        shown.update(Status("train", 100 * index, 500, 10 * index, 4, now))
    shown.note("checkpoint at 500")
    shown.close({"curves": "runs/a/curves.png"})
    lines = out.getvalue().splitlines()
    assert lines[:3] == ["acorm on smax/3m", "  device  cpu x 2", "  seeds   4"]
    # At 0 s, at 12 s (the first after ten seconds) and the last one at 20 s.
    assert len(lines) == 3 + 3 + 1 + 2
    exploring = "exploring: return 2.00 ± 1.00"
    assert lines[3] == f"  0%  train  0/500 steps x 4 seeds  {exploring}"
    assert "60%  train  300/500 steps x 4 seeds  100 env steps/s" in lines[4]
    assert f"10.0 updates/s  8s left  {exploring}" in lines[4]
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
        now = Outcome(steps, [], [float("nan")])
        shown.update(Status(stage, steps, 100, 0, 1, now))
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
        greedy = Outcome(50, [1.0], [0.5, 1.0])
        shown.update(Status("train", 50 * index, 100, index, 2, greedy=greedy))
    shown.close({})
    text = out.getvalue()
    assert "100/100 steps x 2 seeds" in text
    assert "greedy evaluation at 50: win rate 75% ± 25%  return 1.00" in text
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


def test_the_live_line_stands_and_counts_while_nothing_else_happens():
    out, clock = Terminal(), Clock()
    shown = progress.make(out, clock)
    shown.header("acorm on smax/3m", {"seeds": "4"})
    shown.waiting("compiling")
    clock.now = 125.0
    deadline = time.monotonic() + 20
    while "compiling ... 2m05s" not in out.getvalue() and time.monotonic() < deadline:
        time.sleep(0.05)
    shown.close({})
    text = out.getvalue()
    assert "compiling ... 0s" in text and "compiling ... 2m05s" in text
    plain = io.StringIO()
    progress.make(plain, clock).waiting("compiling")
    assert plain.getvalue() == "compiling ...\n"


def test_both_kinds_of_episodes_are_kept_apart():
    def rows(at, train, test=None, rate=0.0):
        more = {"seed": 0, "env_steps": at}
        found = [{**more, "split": "train", "return": train, "win_rate": 0.0}]
        if test is not None:
            found.append({**more, "split": "test", "return": test, "win_rate": rate})
        return found

    seen = session._after(session._Seen(), rows(10, 1.0, 2.0))
    assert seen.greedy == (10, [2.0], []) and not seen.won
    seen = session._after(seen, rows(20, 3.0))
    assert (seen.exploring, seen.greedy) == ((20, [3.0], []), (10, [2.0], []))
    seen = session._after(seen, rows(30, 3.0, 4.0, rate=0.5))
    assert seen.greedy == (30, [4.0], [0.5]) and seen.exploring.win_rates == [0.0]
