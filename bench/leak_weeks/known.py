"""The 22 known classes, made anew: one function each, (r, index) -> (columns, label fields, broker)."""
import numpy as np

from broker import DAY, H, HOUR, ROWS, T, Broker, logu
from jvm import chunks, noisy, ramp, saw, settle

MB = 1e6


def leak(b, cols, kind, rate, onset=0, driver="time", seen="residue", note=""):
    """Columns and label of a leak."""
    return cols, dict(label="leak", kind=kind, onset_s=int(onset), rate_b_per_h=int(rate),
                      leaked_b_end=int(b.leak[-1]), driver=driver, seen_in=seen, note=note), b


def ok(b, cols, kind, note=""):
    """Columns and label of a clean week."""
    return cols, dict(label="no_leak", kind=kind, onset_s=None, rate_b_per_h=0, leaked_b_end=0,
                      driver="", seen_in="", note=note), b


def small(r):
    """One of the fleets of the examples, blurred: 300, 1000, 4000 or 8000 clients."""
    return float(r.choice([300, 1000, 4000, 8000])) * np.exp(r.normal(0, .25))


def native(r, p_keep=.65, **kw):
    """A C or Rust broker, more often on an allocator that keeps its high-water."""
    kw.setdefault("fleet", small(r))
    b = Broker(r, "glibc" if r.random() < p_keep else "jemalloc", **kw)
    b.subs_per, b.pub_rate = 2, 2 * np.exp(r.normal(0, .05))
    b.offline = max(1, round(b.fleet * .02))
    return b


def leak_seed_tiny_diurnal(r, i):
    b = native(r, .85, fleet=logu(r, 1500, 8000), swing=r.uniform(.2, .45))
    rate, onset = logu(r, .13, .4) * MB, r.uniform(0, 45) * HOUR
    b.drive("time", rate, onset)
    return leak(b, b.columns(), "time", rate, onset,
                note=f"{rate / MB:.3f} MB/h under diurnal swing; allocator high-water hides it until the arena is full")


def leak_update_only(r, i):
    b = native(r, swing=r.uniform(.1, .35))
    first, hours = r.uniform(0, 24), r.uniform(3.5, 13)
    b.pub_gate = ((H - first) % 24 < hours) * 1.0
    rate = logu(r, .09, 4) * MB
    b.drive("pub_total", rate)
    per = b.leak[-1] / max(1, b.pubs.sum())
    return leak(b, b.columns(), "per-update", rate, 0, "pub_total",
                note=f"{per:.2f} B per PUBLISH, only while updates flow (day shift)")


def leak_accounted_strdup(r, i):
    b = native(r, swing=r.uniform(.03, .3), fleet=logu(r, 1500, 8000))
    rate = logu(r, .35, 3) * MB
    b.leak_accounted = True
    b.drive("pub_total", rate)
    return leak(b, b.columns(), "per-update", rate, 0, "pub_total", "acc_b against state",
                "the broker counts the leaked bytes in its own heap gauge: residue is flat, account/state ratio grows")


def leak_per_connect(r, i):
    b = native(r, fleet=logu(r, 200, 2500))
    b.churn = logu(r, .003, .02)
    b.count()
    per = logu(r, 90, 500)
    rate = max(per * b.connects.sum() / 168, 8000)
    b.drive("conn_total", rate)
    return leak(b, b.columns(), "per-connect", rate, 0, "conn_total", note=f"{per:.0f} B per CONNECT")


def leak_masked_by_restart(r, i):
    every = r.uniform(11, 36)
    b = native(r, fleet=logu(r, 2000, 8000), swing=r.uniform(.04, .2),
               starts=np.arange(1, 168 / every) * every * HOUR * r.uniform(.995, 1))
    restarting(b)
    rate = logu(r, 1.2, 5) * MB
    b.drive("time", rate)
    return leak(b, b.columns(), "time", rate, 0, "time", "residue, stitched over restarts", f"restarted every {every:.0f} h")


def restarting(b):
    """After a start: reconnects at once, memory warms up, a short burst while state is loaded."""
    r = b.r
    b.warm, b.warm_s = r.uniform(.1, .5), r.uniform(.6, 2.2) * HOUR
    for s in b.starts:
        k = int(np.ceil(s / 60))
        n = min(4, ROWS - k)
        b.beside[k:k + n] = r.uniform(.02, .4) * b.account().mean() * np.array([1, .25, .08, .02])[:n]


def leak_late_onset(r, i):
    b = native(r)
    rate, onset = logu(r, .3, 2) * MB, r.uniform(50, 115) * HOUR
    b.drive("time", rate, onset)
    return leak(b, b.columns(), "time", rate, onset, note="starts mid-series (new client firmware)")


def leak_fast(r, i):
    b = native(r, fleet=logu(r, 500, 2000))
    rate, onset = logu(r, 14, 60) * MB, r.uniform(20, 115) * HOUR
    b.count()
    gate = 1 / np.maximum(b.pubs, 1) if r.random() < .7 else None  # all run at full fleet rate
    b.drive("pub_total", rate, onset, gate)
    return leak(b, b.columns(), "per-update", rate, onset, "pub_total", note="the seed mechanism at full fleet rate")


def java(r, **kw):
    """A JVM broker: its counts, a committed heap in KiB and what else is resident."""
    b = native(r, **kw)
    committed = r.uniform(.9, 1.1) * logu(r, 220e3, 900e3)
    return b, committed, r.uniform(95e3, 130e3)


def java_frame(b, anon, heap, committed, direct):
    """A JVM broker's columns."""
    out = b.frame(noisy(b.r, anon, 1e-4), "counts")
    out.update(heap_kb=np.round(heap), heapc_kb=np.round(committed + np.zeros(ROWS)), direct_kb=np.round(direct + np.zeros(ROWS)))
    b.visible_kb = b.leak / 1024
    return out


def used_heap(b, committed):
    """Steady or jittered sawtooth between about a quarter and three fifths of the committed heap."""
    r = b.r
    lo, hi, period = r.uniform(.18, .32), r.uniform(.5, .7), logu(r, 15, 90)
    c = committed + np.zeros(ROWS)
    return ramp(r, c, lo, hi, period) if r.random() < .5 else saw(r, c * lo, c * hi, period, .02)


def leak_native_flat_heap(r, i):
    b, committed, rest = java(r)
    chunk = r.choice([2, 4, 8, 16]) * 1e6
    b.count()
    pool = r.integers(2, 6) * chunk + chunk * (r.uniform(.3, 1.2) * b.conns / b.conns.max() - .9)
    direct = chunks(np.maximum(pool, chunk), chunk)
    rate = logu(r, 1.2, 8) * MB
    b.drive("time", rate)
    anon = committed + direct + rest + b.leak / 1024
    cols = java_frame(b, anon, used_heap(b, committed), committed, direct)
    return leak(b, cols, "time", rate, note="native leak under a flat JVM heap and flat direct counter")


def leak_netty_direct(r, i):
    b, committed, rest = java(r)
    mib = int(r.choice([2, 4, 8, 16]))
    rate = logu(r, 2, 18) * MB
    b.drive("pub_total", rate)
    direct = chunks(r.uniform(20e6, 50e6) + b.leak, mib * 2**20)
    cols = java_frame(b, committed + direct + rest, used_heap(b, committed), committed, direct)
    return leak(b, cols, "per-update", rate, 0, "pub_total", "direct_kb",
                f"unreleased ByteBuf, pool grows in {mib} MiB chunks; heap flat")


def sawtooth(r, b):
    """A tall slow sawtooth that rss follows; no committed heap is known, nor queues."""
    floor, tall = logu(r, 60e3, 140e3), logu(r, 70e3, 260e3)
    lo = floor + b.leak / 1024
    load = b.conns / b.conns.mean()
    heap = saw(r, lo * (1 + .02 * (load - 1)), lo + tall, logu(r, 70, 600), .02)
    heap = heap + r.uniform(.002, .01) * tall * r.normal(0, 1, ROWS)
    anon = r.uniform(30e3, 55e3) + r.uniform(1.1, 1.2) * heap
    cols = b.frame(noisy(r, anon), "counts noqueue")
    cols["heap_kb"] = np.round(heap)
    b.visible_kb = b.leak / 1024
    return cols


def leak_gc_sawtooth(r, i):
    b = native(r)
    rate = logu(r, .9, 5) * MB
    b.drive("time", rate)
    return leak(b, sawtooth(r, b), "time", rate, 0, "time", "low watermark", "post-GC floor rises under a tall sawtooth")


def leak_rss_only(r, i):
    b = native(r)
    rate = logu(r, .4, 3) * MB
    b.drive("time", rate)
    return leak(b, b.columns("rss"), "time", rate, 0, "time", "rss only", "watcher has no broker account at all")


def ok_flat(r, i):
    b = native(r, .85, swing=r.uniform(.01, .08))
    return ok(b, b.columns(), "flat")


def ok_diurnal(r, i):
    b = native(r, .3, swing=r.uniform(.2, .55))
    return ok(b, b.columns(), "diurnal")


def ok_warmup_log(r, i):
    b = native(r, .4)
    b.count()
    tau, size = logu(r, .1, 3), r.uniform(.2, 2) * b.account().mean()
    b.beside = size * np.log1p(H / tau) / np.log1p(168 / tau)
    return ok(b, b.columns(), "warm-up", "log-like fragmentation/warm-up, slope decays as 1/t")


def ok_retained_growth(r, i):
    b = native(r)
    b.retained = b.retained + np.cumsum(r.poisson(logu(r, 5, 40), ROWS))
    return ok(b, b.columns(), "growth", "new devices publish new retained topics: more state, not a leak")


def ok_fleet_growth(r, i):
    b = native(r)
    b.growth = 1 + r.uniform(.2, .8) * np.minimum(1, H / r.uniform(120, 168))
    b.offline = int(r.integers(20, 90))
    return ok(b, b.columns(), "growth", "fleet roll-out")


def ok_cache_fill(r, i):
    b = native(r, fleet=logu(r, 200, 3000))
    b.hidden = logu(r, 35, 160) * MB * (1 - np.exp(-H / (logu(r, 6, 80) / 2)))
    return ok(b, b.columns(), "cache", "block cache / authz cache fills to a limit; unaccounted")


def ok_gc_sawtooth(r, i):
    b = native(r).count()
    return ok(b, sawtooth(r, b), "gc", "tall slow sawtooth, flat floor")


def ok_jvm_warmup(r, i):
    b, end, _ = java(r, fleet=logu(r, 200, 3000))
    committed = settle(end * r.uniform(.2, .45), end, logu(r, 3, 20))
    plateau = r.choice([64, 96, 128, 192, 256]) * 2**20
    mib = r.choice([2, 4, 8, 16]) * 2**20
    direct = np.minimum(plateau / 1024, chunks(np.maximum(1, plateau * (1 - np.exp(-H / logu(r, 2, 9)))), mib))
    rest = settle(r.uniform(45e3, 70e3), r.uniform(95e3, 125e3), logu(r, 4, 18))
    lo, hi = r.uniform(.2, .35), r.uniform(.5, .7)
    heap = ramp(r, committed, lo, hi, logu(r, 25, 90))
    return ok(b, java_frame(b, committed + direct + rest, heap, committed, direct), "warm-up",
              "heap commit, metaspace, code cache and direct pool grow to their plateaus")


def ok_offline_queue(r, i):
    b = native(r, fleet=logu(r, 1500, 9000))
    at, hours = r.uniform(10, 60), r.uniform(6, 30)
    b.more_queued = np.floor(r.uniform(80e3, 350e3) * np.clip((H - at) / hours, 0, 1))
    return ok(b, b.columns(), "growth", "persistent client offline: queue grows to max_queued, counted")


def ok_restart_clean(r, i):
    every = r.uniform(38, 80) * HOUR
    b = native(r, .5, starts=np.arange(1, 7 * DAY / every) * every)
    restarting(b)
    b.warm, b.warm_s = r.uniform(.2, .6), r.uniform(1, 2.5) * HOUR
    return ok(b, b.columns(), "restart", "deploys, each with a 2 h warm-up")


def ok_rss_only_plateau(r, i):
    b = native(r, .8, fleet=logu(r, 150, 1200), swing=r.uniform(.03, .3))
    peak = np.cumsum(r.normal(.01, .015, 8))[(T // DAY).astype(int)]
    b.growth = 1 + np.clip(peak, -.05, .15)
    return ok(b, b.columns("rss"), "diurnal", "rss only: high-water plateaus creep up as new daily peaks occur")


KINDS = {k: f for k, f in list(globals().items())
         if k.startswith(("leak_", "ok_")) and callable(f)}
