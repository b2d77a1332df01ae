"""Managed heaps: the JVM's sawtooth and committed heap, Go's pacer, the BEAM's carriers."""
import numpy as np

from broker import H, ROWS, ar1, logu


def saw(r, floor, top, period_min, jitter=.04):
    """Heap used: from `floor` up to `top` (arrays, KiB), back at each collection."""
    floor, top = floor.tolist(), top.tolist()
    step = np.abs(1 / period_min * (1 + r.normal(0, .25, ROWS))).tolist()
    pos, goal, out = r.uniform(0, 1), 1.0, []
    hit = r.normal(1, jitter, ROWS).tolist()
    for i in range(ROWS):
        out.append(floor[i] + (top[i] - floor[i]) * pos)
        pos += step[i]
        if pos >= goal:
            pos, goal = max(0, pos - goal) * .5, hit[i]
    return np.array(out)


def ramp(r, committed, lo, hi, period_min):
    """The steady sawtooth between two shares of the committed heap."""
    phase = (np.arange(ROWS) / period_min + r.uniform(0, 1)) % 1
    return committed * (lo + (hi - lo) * phase)


def noisy(r, kb, share=2e-4):
    """What a reading of resident memory jitters by, in KiB."""
    n = share * np.median(kb) + 8
    return kb + n * (.6 * ar1(r, .8, 1) + .4 * r.normal(0, 1, ROWS))


def chunks(b, chunk):
    """A pool that grows by whole chunks: bytes in, KiB out."""
    return np.ceil(b / chunk) * chunk / 1024


def go_heap(r, live_kb, minutes):
    """(used, committed) of a Go heap at GOGC 100: doubles between collections, returned slowly."""
    wob = 1 + ar1(r, .9, .01)
    used = saw(r, live_kb * wob, 2 * live_kb * wob, minutes, .02)
    goal = 2 * live_kb * r.uniform(1.03, 1.12)
    return used, sink(np.maximum(used, goal * .9), logu(r, 2, 30) * 60)


def sink(x, tau_min):
    """Up at once, down with a long time constant: a scavenger."""
    a, y, out = 1 - np.exp(-1 / tau_min), x[0], []
    for v in x.tolist():
        y = v if v > y else y - (y - v) * a
        out.append(y)
    return np.array(out)


def beam_heap(r, live_kb):
    """(used, committed) of an Erlang node: per-process collections blur it, carriers add slack."""
    used = live_kb * (1 + .5 * r.uniform(.02, .08) * (1 + ar1(r, .8, .4)))
    used = saw(r, used * .98, used * r.uniform(1.05, 1.25), logu(r, 3, 40), .1)
    carrier = r.choice([512, 1024, 2048, 5120])
    held = sink(used * r.uniform(1.05, 1.35), logu(r, 1, 24) * 60)
    return used, np.ceil(held / carrier) * carrier


def settle(start, end, tau_h):
    """From one value to another with a time constant in hours."""
    return end + (start - end) * np.exp(-H / tau_h)
