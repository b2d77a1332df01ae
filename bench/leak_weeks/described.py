"""Kinds that the examples do not have: leaks. Same shape as in known.py; the clean ones are in described_ok.py."""
import numpy as np

from broker import H, HOUR, ROWS, Broker, ar1, logu
from jvm import beam_heap, chunks, go_heap, noisy, saw, settle
from known import MB, leak, java_frame, restarting


def broker(r, i, **kw):
    """A native broker; every second one has an allocator that gives back."""
    kw.setdefault("fleet", logu(r, 200, 50000))
    b = Broker(r, "glibc" if i % 2 == 0 else "jemalloc", **kw)
    if r.random() < .2:  # a host that reads rougher than the examples
        b.noise = logu(r, 8e-4, 3e-3)
    return b


def rate_of(r, lo=.15, hi=8):
    """A leak's rate in B/h."""
    return logu(r, lo, hi) * MB


DRIVERS = {"time": "time", "pub_total": "per-update", "conn_total": "per-connect"}


def starting(r):
    """Most leaks are there from the beginning, some begin later."""
    return 0.0 if r.random() < .7 else r.uniform(5, 100) * HOUR


def storms(b, n, dip=None):
    """`n` reconnect storms: all or many clients go and come back within minutes; returns rows and CONNECTs."""
    r = b.r
    rows = np.sort(r.choice(np.arange(60, ROWS - 120), n, replace=False))
    hit = np.zeros(ROWS)
    for k in rows:
        share = dip or r.uniform(.3, 1)
        back = int(logu(r, 2, 25))
        gone = share * np.clip(1 - np.arange(back + 1) / back, 0, 1) ** r.uniform(.6, 2)
        lost = gone * b.fleet * b.shape[k]
        end = min(ROWS, k + back + 1)
        b.more_conns[k:end] = np.minimum(b.more_conns[k:end], -lost[:end - k])
        again = share * b.fleet * b.shape[k] * r.uniform(1, 2.5)
        hit[k + 1:end] += again / max(1, end - k - 1)
    b.more_connects += hit
    return rows, hit


def buffers(b, rows, per_client):
    """Handshake and inflight buffers of a storm: taken and freed, in no account."""
    for k in rows:
        n = min(int(b.r.uniform(3, 15)), ROWS - k)
        b.hidden[k:k + n] = np.maximum(b.hidden[k:k + n], per_client * b.fleet * np.hanning(n + 2)[1:-1])


def leak_while_growing(r, i):
    b = broker(r, i)
    start = b.retained[0]
    grown = r.uniform(.2, 5) * max(start, 3000)
    b.retained = start + np.cumsum(r.poisson(grown / ROWS, ROWS))
    if r.random() < .4:
        b.growth = 1 + r.uniform(.05, .6) * H / 168
    rate, onset = rate_of(r), starting(r)
    driver = str(r.choice(["time", "pub_total"]))
    b.drive(driver, rate, onset)
    return leak(b, b.columns(), DRIVERS[driver], rate, onset, driver,
                "acc_b and residue", "the state grows as well, but explains only its own bytes")


def leak_with_storms(r, i):
    b = broker(r, i, fleet=logu(r, 800, 15000))
    rows, hit = storms(b, int(r.integers(6, 40)))
    buffers(b, rows, r.uniform(500, 6000))
    rate = rate_of(r)
    b.drive("conn_total", rate, 0, None if r.random() < .5 else (hit > 0) + 0.0)
    return leak(b, b.columns(), "per-connect", rate, 0, "conn_total", "residue",
                f"{len(rows)} reconnect storms; each leaves bytes behind")


def leak_noisy_host(r, i):
    b = broker(r, i)
    sd = logu(r, .006, .09) * b.account().mean() / 1024
    spikes = r.random(ROWS) < logu(r, .002, .06)
    b.host_noise = sd * (.5 * ar1(r, r.uniform(.3, .97), 1) + .5 * r.normal(0, 1, ROWS)
                         + spikes * r.exponential(4, ROWS))
    rate, onset = rate_of(r), starting(r)
    b.drive("time", rate, onset)
    return leak(b, b.columns(), "time", rate, onset, note="a noisy host: rss reads rough")


def leak_per_subscribe(r, i):
    b = broker(r, i)
    busy = np.maximum(.02, 1 + r.uniform(.3, .9) * np.sin(2 * np.pi * (H - r.uniform(0, 24)) / 24)
                      + ar1(r, .99, r.uniform(.1, .5)))
    b.more_subs = b.fleet * r.uniform(.05, 1.5) * (busy - busy.min()) / np.ptp(busy)
    rate, onset = rate_of(r), starting(r)
    b.drive("time", rate, onset, b.shape * busy)
    return leak(b, b.columns(), "per-subscribe", rate, onset, "subscribe", "residue",
                "SUBSCRIBE and UNSUBSCRIBE churn; nodes of the topic tree are not pruned")


def leak_in_steps(r, i):
    b = broker(r, i)
    every = r.uniform(1.5, 14)
    at = np.cumsum(every * r.uniform(.6, 1.4, int(400 / every)))
    gate = np.zeros(ROWS)
    gate[(at[at < 167.5] * 60).astype(int)] = 1
    if r.random() < .4:
        gate = np.convolve(gate, np.ones(int(r.uniform(3, 40))), "full")[:ROWS]
    rate = rate_of(r)
    b.drive("time", rate, 0, gate)
    return leak(b, b.columns(), "steps", rate, note=f"one block about every {every:.1f} h")


def g1(r):
    """Heap sizes in KiB of a G1 heap: (committed, live floor, sawtooth height, minutes)."""
    committed = logu(r, 256e3, 3e6)
    return committed, committed * r.uniform(.08, .3), committed * r.uniform(.15, .4), logu(r, 10, 500)


def leak_g1_pretouched(r, i):
    b = broker(r, i)
    committed, floor, tall, minutes = g1(r)
    rest, inside = r.uniform(70e3, 180e3), r.random() < .45
    rate = rate_of(r)
    if inside:  # must fit in the heap that there is
        rate = np.clip(rate, .25 * tall * 1024 / 168, (committed * .95 - floor - tall) * 1024 / 168)
    driver = str(r.choice(["time", "pub_total"]))
    b.drive(driver, rate)
    lo = floor * np.sqrt(b.conns / b.conns.mean()) + (b.leak / 1024 if inside else 0)
    heap = np.minimum(committed, saw(r, lo, lo + tall, minutes, .05))
    direct = chunks(r.uniform(8e6, 100e6) + np.zeros(ROWS), 4 * 2**20)
    anon = committed + direct + rest + (0 if inside else b.leak / 1024) + settle(-30e3 * r.random(), 0, logu(r, 1, 8))
    cols = java_frame(b, anon, heap, committed, direct)
    seen = "post-GC floor of heap_kb" if inside else "residue"
    return leak(b, cols, DRIVERS[driver], rate, 0, driver, seen,
                "AlwaysPreTouch: committed heap resident from the start; leak " + ("in the heap" if inside else "beside it"))


def leak_g1_expanding(r, i):
    b = broker(r, i)
    floor, tall, minutes = logu(r, 50e3, 400e3), logu(r, 50e3, 500e3), logu(r, 10, 300)
    rate, onset = rate_of(r, .4, 12), starting(r)
    driver = str(r.choice(list(DRIVERS)))
    b.drive(driver, rate, onset)
    lo = floor * np.sqrt(b.conns / b.conns.mean()) + b.leak / 1024
    top = lo + tall + r.uniform(0, .6) * b.leak / 1024
    heap = saw(r, lo, top, minutes, .06)
    region = 1024 * int(r.choice([1, 2, 4, 8, 16, 32]))
    want = np.maximum.accumulate(heap) * r.uniform(1.05, 1.5)
    committed = np.ceil(want / region / 4) * region * 4
    touched = np.minimum(committed, np.maximum.accumulate(heap) * r.uniform(1.0, 1.05))
    direct = chunks(r.uniform(8e6, 100e6) + np.zeros(ROWS), 4 * 2**20)
    cols = java_frame(b, touched + direct + r.uniform(70e3, 160e3), heap, committed, direct)
    b.fair_kb = .2 * tall
    return leak(b, cols, DRIVERS[driver], rate, onset, driver, "post-GC floor of heap_kb", "the heap expands with the leak")


def beam(r, b):
    """Columns of an Erlang broker whose live bytes are the account and the leak."""
    live = b.account() * r.uniform(1, 2) + b.hidden + b.leak + r.uniform(30e6, 120e6)
    used, committed = beam_heap(r, live / 1024)
    code = r.uniform(20e3, 70e3)
    cols = b.frame(noisy(r, committed * r.uniform(.97, 1.02) + code, b.noise), "counts")
    cols.update(heap_kb=np.round(used), heapc_kb=np.round(committed))
    b.visible_kb = b.leak / 1024
    b.fair_kb = 3 * np.std(used - np.convolve(used, np.ones(121) / 121, "same")) if b.leak[-1] else 0
    return cols


def leak_beam(r, i):
    b = broker(r, i)
    rate, onset = rate_of(r), starting(r)
    driver = str(r.choice(list(DRIVERS)))
    b.drive(driver, rate, onset)
    return leak(b, beam(r, b), DRIVERS[driver], rate, onset, driver, "heap_kb", "Erlang: terms or binaries that nothing releases")


def golang(r, b):
    """Columns of a Go broker: the heap doubles between collections."""
    live = b.account() * r.uniform(1, 1.8) + b.hidden + b.leak + r.uniform(4e6, 20e6)
    used, committed = go_heap(r, live / 1024, logu(r, 1.5, 25))
    cols = b.frame(noisy(r, committed + r.uniform(8e3, 25e3), b.noise), "counts")
    cols.update(heap_kb=np.round(used), heapc_kb=np.round(committed))
    b.visible_kb = b.leak / 1024
    b.fair_kb = .05 * live.mean() / 1024 if b.leak[-1] else 0
    return cols


def leak_go(r, i):
    b = broker(r, i)
    rate, onset = rate_of(r), starting(r)
    driver = str(r.choice(list(DRIVERS)))
    b.drive(driver, rate, onset)
    return leak(b, golang(r, b), DRIVERS[driver], rate, onset, driver, "heap_kb", "Go at GOGC 100: what lives doubles in rss")


def leak_after_deploy(r, i):
    at = r.uniform(36, 110) * HOUR
    b = broker(r, i, starts=[at])
    restarting(b)
    b.warm = r.uniform(0, .4)
    rate, driver = rate_of(r), str(r.choice(list(DRIVERS)))
    b.drive(driver, rate, at)
    return leak(b, b.columns(), DRIVERS[driver], rate, at, driver,
                "residue", "clean until the deploy, leaking after it")


def leak_at_night_only(r, i):
    b = broker(r, i)
    first, hours = r.uniform(0, 24), r.uniform(2, 8)
    rate = rate_of(r)
    b.drive("time", rate, 0, ((H - first) % 24 < hours) + 0.0)
    return leak(b, b.columns(), "nightly", rate, 0, "time", "residue", f"only {hours:.1f} h of every night (a nightly job)")


def moving_files(b, size_kb):
    """A page cache that grows with log or store writes and is reclaimed in lumps."""
    r, x, out = b.r, 0.0, []
    step = size_kb / (60 * logu(r, 3, 60))
    drop = r.random(ROWS) < 1 / (60 * r.uniform(10, 60))
    cut = r.uniform(.1, .9, ROWS)
    for w, d, c in zip(r.gamma(.8, 1.25, ROWS).tolist(), drop.tolist(), cut.tolist()):
        x += step * w
        if x > size_kb or d:
            x *= c
        out.append(x)
    return np.array(out)


def leak_cgroup_with_page_cache(r, i):
    b = broker(r, i)
    blank = r.random() < .4
    size = logu(r, 5e3, 60e3 if blank else 400e3)
    b.file_kb = b.file_kb + moving_files(b, size)
    rate = rate_of(r)
    if blank:
        rate = max(rate, 1.5 * size * 1024 / 168)
    b.drive("time", rate)
    cols = b.columns("rss")
    if blank:
        del cols["anon_kb"], cols["file_kb"]
    return leak(b, cols, "time", rate, 0, "time", "rss only", "cgroup memory with the page cache in it")


def leak_counts_only(r, i):
    b = broker(r, i)
    if r.random() < .3:
        b.retained = b.retained + np.cumsum(r.poisson(logu(r, .3, 8), ROWS))
    rate, onset, driver = rate_of(r), starting(r), str(r.choice(list(DRIVERS)))
    b.drive(driver, rate, onset)
    return leak(b, b.columns("counts"), DRIVERS[driver], rate, onset, driver, "rss against counts", "counts but no account")


import described_ok  # noqa: E402  (it uses the brokers above)

KINDS = {k: f for m in (globals(), vars(described_ok)) for k, f in list(m.items())
         if k.startswith(("leak_", "ok_")) and callable(f)}
