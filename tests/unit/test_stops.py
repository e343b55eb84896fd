"""SIGINT and SIGTERM are heard from the first line of a command to its last."""

import os
import signal
import subprocess
import sys

import pytest
from support import REPO

from rolemarl_jax import stops

# A command that loses the exception, as callbacks of libraries do, and goes on.
LOSES = """
import os, weakref
from rolemarl_jax import stops

class Thing:
    pass

def callback(_):
    os.kill(os.getpid(), {number})
    sum(range(100))  # the handler runs between two of its instructions

def command():
    thing = Thing()
    reference = weakref.ref(thing, callback)
    del thing
    print("goes on", flush=True)
    {then}
    print("to its end")

stops.obeyed(command)
"""
TRAINS = "\n    with stops.requests(lambda: None): pass"


@pytest.mark.parametrize("then", ["stops.check()", TRAINS], ids=["check", "training"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_whose_exception_was_lost_stops_the_command(number, then):
    code = LOSES.format(number=int(number), then=then)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True
    )
    assert "Exception ignored" in done.stderr
    assert done.stdout == "goes on\n"
    assert done.stderr.endswith("stopped\n")
    assert done.returncode == 128 + number


def test_a_first_one_is_a_flag_and_a_second_acts_as_before():
    # A shell that starts tests in the background has them ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGTERM)
    told = []
    with stops.requests(lambda: told.append(1)) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop() and told == [1]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
    stops.check()  # outside of a command nothing is remembered
    with stops.requests(lambda: None) as stop:
        assert not stop()


def test_a_command_leaves_handlers_as_they_were():
    before = [signal.getsignal(number) for number in stops.SIGNALS]
    inside = []

    def command():
        stops.obeyed(lambda: inside.append(signal.getsignal(signal.SIGTERM)))
        inside.append(signal.getsignal(signal.SIGTERM))

    stops.obeyed(command)
    assert inside[0] is inside[1] is not before[1]
    assert [signal.getsignal(number) for number in stops.SIGNALS] == before


def test_a_module_is_imported_to_its_end(tmp_path):
    """Extensions abort the process where an exception comes up as they are loaded."""
    (tmp_path / "slow.py").write_text(
        "import os, signal, time\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(0.2)\nprint('imported', flush=True)\n"
    )
    code = (
        "import time\nfrom rolemarl_jax import stops\n"
        f"def command():\n    import sys; sys.path.append({str(tmp_path)!r})\n"
        "    import slow\n    time.sleep(60)\nstops.obeyed(command)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("imported\n", "stopped\n")
    assert done.returncode == 143


def test_an_error_that_a_library_made_of_the_request_is_no_refusal():
    code = (
        "import os, signal\nfrom rolemarl_jax.config import ConfigError\n"
        "from experiments.door import cli\n"
        "def command():\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except KeyboardInterrupt:\n        raise ConfigError('unreadable')\n"
        "cli.guard(command)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (143, "stopped\n")
