"""What a program would cost a card: read from XLA's text, with numbers known."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from experiments.bench import card as suite
from experiments.bench.cards import cost, hlo
from experiments.bench.cards.cost import Kernel
from rolemarl_jax.config import ConfigError
from rolemarl_jax.sweep.cards import target

# A host's loop around: a product of [4, 8] and [8, 2], a switch over three stages, and
# a loop of five steps that each write one row of [5, 16] in place.
TEXT = """HloModule jit_f, is_scheduled=true, entry_computation_layout={()->f32[4,2]}

%fused_row (p0: f32[5,16], p1: f32[3,16], p2: s32[]) -> f32[5,16] {
  %p0 = f32[5,16]{1,0} parameter(0)
  %p1 = f32[3,16]{1,0} parameter(1)
  %p2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,16]{1,0} dynamic-slice(%p1, %p2, %zero), dynamic_slice_sizes={1,16}
  ROOT %put = f32[5,16]{1,0} dynamic-update-slice(%p0, %row, %p2, %zero)
}

%fused_turn (p0.1: bf16[4,8]) -> (bf16[8,4], f32[4]) {
  %p0.1 = bf16[4,8]{1,0} parameter(0)
  %turned = bf16[8,4]{1,0} transpose(%p0.1), dimensions={1,0}
  %some = f32[4]{0} custom-call(%p0.1), custom_call_target="x"
  ROOT %both = (bf16[8,4]{1,0}, f32[4]{0}) tuple(%turned, %some)
}

%steps (a: (s32[], f32[5,16], f32[3,16])) -> (s32[], f32[5,16], f32[3,16]) {
  %a = (s32[], /*index=1*/f32[5,16]{1,0}, f32[3,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%a), index=0
  %old = f32[5,16]{1,0} get-tuple-element(%a), index=1
  %in = f32[3,16]{1,0} get-tuple-element(%a), index=2
  %new = f32[5,16]{1,0} fusion(%old, %in, %i), kind=kLoop, calls=%fused_row, \
metadata={op_name="jit(f)/while/body/cond/branch_2_fun/jit(_update)/jvp(Net)/GRU_0/add"}
  ROOT %b = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) tuple(%i, %new, %in)
}

%nothing (n: (s32[], f32[5,16], f32[3,16])) -> (s32[], f32[5,16], f32[3,16]) {
  ROOT %n = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) parameter(0)
}

%train (t: (s32[], f32[5,16], f32[3,16])) -> (s32[], f32[5,16], f32[3,16]) {
  %t = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) parameter(0)
  %p = pred[] constant(true)
  %due = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) conditional(%p, %t, %t), \
true_computation=%steps, false_computation=%nothing
  ROOT %w = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) while(%due), condition=%c, \
body=%steps, backend_config={"known_trip_count":{"n":"5"}}
}

%host (h: (s32[], f32[5,16], f32[3,16])) -> (s32[], f32[5,16], f32[3,16]) {
  %h = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) parameter(0)
  %k = s32[] get-tuple-element(%h), index=0
  %x = f32[4,8]{1,0} constant({...})
  %y = f32[8,2]{1,0} constant({...})
  %d = f32[4,2]{1,0} dot(%x, %y), lhs_contracting_dims={1}, rhs_contracting_dims={0}, \
metadata={op_name="jit(f)/while/body/dot_general"}
  ROOT %s = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) conditional(%k, %h, %h, %h), \
branch_computations={%nothing, %steps, %train}
}

ENTRY %main (e: (s32[], f32[5,16], f32[3,16])) -> (s32[], f32[5,16], f32[3,16]) {
  %e = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) parameter(0)
  %half = bf16[4,8]{1,0} constant({...})
  %turn = (bf16[8,4]{1,0}, f32[4]{0}) fusion(%half), kind=kLoop, calls=%fused_turn
  ROOT %l = (s32[], f32[5,16]{1,0}, f32[3,16]{1,0}) while(%e), condition=%c, body=%host
}
"""
PRODUCT = 4 * (4 * 8 + 8 * 2 + 4 * 2)  # bytes: two arguments, one result
ROW = 4 * (16 + 16) + 4  # a row read, a row written, and where
TURN = 2 * 32 + 2 * 32 + 4 * 4  # read once, two results
CARD = target.known("h100")


def kernels(stage, choose=max, unknown=1):
    def dearest(branches):
        return choose(branches, key=len)

    module = hlo.parse(TEXT)
    return cost.kernels(cost.Walk(module, 3, stage, unknown, dearest))


@pytest.mark.parametrize(
    ("stage", "choose", "rows"), [(0, max, 0), (1, max, 1), (2, max, 6), (2, min, 5)]
)
def test_bytes_launches_and_products_of_a_stage(stage, choose, rows):
    found = suite.together(kernels(stage, choose), CARD)
    assert found.launches == 2 + rows
    assert found.bytes == TURN + PRODUCT + rows * ROW
    assert found.flops == 2 * 4 * 8 * 2
    assert found.seconds == pytest.approx((2 + rows) * 3e-6)  # all are small


def test_a_loop_of_unknown_length_runs_as_often_as_is_said():
    found = suite.together(kernels(0, unknown=60), CARD)
    assert (found.launches, found.bytes) == (61, TURN + 60 * PRODUCT)


def test_a_large_kernel_lasts_as_long_as_its_bytes_or_products():
    # 3.35 TB/s at seven tenths; 495 and 990 TFLOP/s at three tenths.
    moved = Kernel("", 1, 2_345_000_000, 0.0, "f32")
    assert suite.seconds(moved, CARD) == pytest.approx(1e-3)
    for kind, rate in (("f32", 148.5e12), ("bf16", 297e12)):
        product = Kernel("", 1, 0, rate, kind)
        assert suite.seconds(product, CARD) == pytest.approx(1.0)


def test_a_recurrence_in_one_kernel_waits_for_its_products():
    text = """HloModule m

ENTRY %main (x: f32[7,4,16,192], w: f32[7,64,192]) -> f32[7,4,16,64] {
  %x = f32[7,4,16,192]{3,2,1,0} parameter(0)
  %w = f32[7,64,192]{2,1,0} parameter(1)
  ROOT %k = f32[7,4,16,64]{3,2,1,0} custom-call(ARGUMENTS), \
custom_call_target="triton", metadata={op_name="a/gru_backward/pallas_call"}
}
"""

    def read(arguments):
        full = text.replace("\\\n", "").replace("ARGUMENTS", arguments)
        return cost.kernels(cost.Walk(hlo.parse(full), 0, 0, 1, max))[0]

    one = read("%x, %w")
    assert one.bytes == 4 * (7 * 4 * 16 * (192 + 64) + 7 * 64 * 192)
    # Gates again and what comes back: two products in each of four steps.
    assert one.flops == 2 * (2 * 7 * 4 * 16 * 64 * 192)
    assert one.waits == 2 * 4
    assert suite.seconds(one, CARD) == pytest.approx(16e-6)
    assert read("%x, %w" + ", %x" * 7).waits == 4, "gates' products are made ahead"


def test_places_are_told_without_how_they_were_traced():
    rows = suite.by_place(kernels(2), CARD)
    assert [(row["place"], row["kernels"]) for row in rows] == [
        ("jvp(Net)/GRU_0", 6),
        ("collection", 2),
    ]


def test_text_that_is_no_program_is_refused():
    with pytest.raises(ValueError, match="entry"):
        hlo.parse(TEXT.replace("ENTRY ", ""))


@pytest.mark.parametrize("name", target.PRODUCTS)
def test_a_card_is_described_in_full(name):
    one = target.known(name)
    assert 1e12 < one.bandwidth < 1e13 and 8e10 <= one.memory < 2e11
    assert one.products["bf16"] == 2 * one.products["f32"]


def bench(*words, **changed):
    command = [sys.executable, "-m", "experiments.bench", "suite=card", *words]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **changed}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_an_unknown_card_and_an_absent_compiler_are_told(monkeypatch):
    with pytest.raises(ConfigError, match=r"'b100'; known: a100, h100, h200"):
        target.prepare("b100", "card")
    monkeypatch.setattr(target, "PLUGIN", "jax_plugins.not_there")
    with pytest.raises(ConfigError, match="EXTRAS=dev,card"):
        target.prepare("a100", "sweep.card")
    target.prepare(None, "card")


def test_a_machine_without_a_card_is_told():
    with pytest.raises(ConfigError, match="'cpu'; allowed: a100, h100, h200"):
        target.target(None)


def planned(*words):
    command = [sys.executable, "-m", "experiments.run", *words]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("sweep.card=b100", "sweep.plan_only=true"),
            "sweep.card: got 'b100'; known: a",
        ),
        (("sweep.card=h100",), "sweep.plan_only=true"),
    ],
)
def test_a_card_to_plan_for_is_checked_at_the_door(words, told):
    done = planned("run=debug", *words)
    assert done.returncode == 2 and told in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax_plugins") is None, reason="needs the extra card")
def test_a_plan_is_that_of_the_card():
    small = "algo=vdn", "env.map=3m", "run=debug", "seeds=1000"
    done = planned(*small, "sweep.plan_only=true", "sweep.card=a100")
    assert done.returncode == 0, done.stderr
    assert "GB of one a100: 1 chunk(s) of 1000" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax_plugins") is None, reason="needs the extra card")
def test_a_small_run_is_compiled_for_a_card_that_is_not_there():
    words = "algo=vdn", "map=3m", "run=debug", "together=2", "algo.recurrence=kernel"
    done = bench("card=a100", *words)
    assert done.returncode == 0, done.stderr
    assert "for a100, not attached: times are inferred" in done.stdout
    assert "| vdn | train |" in done.stdout and "| vdn | evaluation |" in done.stdout
