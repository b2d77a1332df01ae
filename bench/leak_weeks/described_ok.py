"""Kinds that the examples do not have: bounded or counted growth, no leak."""
import numpy as np

from broker import H, ROWS, ar1, logu
from described import beam, broker, buffers, g1, golang, moving_files, storms
from jvm import chunks, saw
from known import MB, java_frame, ok


def cache_size(r, b):
    """A cache of a third to four times what the broker itself needs."""
    return logu(r, .3, 4) * b.account().mean()


def sources(r):
    """What the watcher can read: mostly everything, sometimes counts or memory alone."""
    return str(r.choice(["acc counts", "counts", "rss"], p=[.75, .17, .08]))


def ok_accounted_cache_exp(r, i):
    b = broker(r, i).count()
    b.acc_only = cache_size(r, b) * (1 - np.exp(-3 * H / logu(r, 3, 60)))
    return ok(b, b.columns(), "cache", "a cache in the account but in no count fills to its limit")


def ok_accounted_cache_linear(r, i):
    b = broker(r, i).count()
    full, at = logu(r, 3, 60), r.uniform(0, 40)
    w = np.cumsum(np.where(H >= at, b.shape if r.random() < .5 else 1, 0)) / 60
    b.acc_only = cache_size(r, b) * np.clip(w / full, 0, 1)
    return ok(b, b.columns(), "cache", "a cache in the account but in no count fills evenly, then is full")


def ok_log_buffer(r, i):
    b = broker(r, i).count()
    size, period = logu(r, .08, 2) * b.account().mean(), logu(r, 1, 40)
    w = b.shape * np.maximum(.05, 1 + ar1(r, .98, .15))
    fill = (np.cumsum(w / w.mean()) / 60 / period + r.random()) % 1
    if r.random() < .5:
        b.hidden = size * fill
    else:
        b.acc_only = size * fill
    return ok(b, b.columns(sources(r)), "buffer", f"a log buffer fills in about {period:.1f} h, is written out and freed")


def ok_tls_session_cache(r, i):
    b = broker(r, i)
    b.churn = logu(r, .004, .04)
    b.count()
    per, ttl = r.uniform(400, 4000), logu(r, 2, 48) * 60
    cap = logu(r, 1, 12) * b.fleet
    x, out = 0.0, []
    for n in b.connects.tolist():
        x = min(cap, x + n - x / ttl)
        out.append(x)
    b.hidden = per * np.array(out)
    return ok(b, b.columns(sources(r)), "cache", "TLS sessions are kept until they expire or the cache is full")


def ok_arenas(r, i):
    b = broker(r, 0).count()
    n, hours = int(r.integers(4, 33)), r.uniform(12, 54)
    at = np.sort(hours * r.beta(1, r.uniform(1, 2.5), n))
    size = logu(r, .3, 2.5) * b.account().mean() / n
    for a in at:
        grow = np.clip((H - a) / logu(r, .02, 4), 0, 1)
        b.hidden += size * r.uniform(.4, 1.6) * grow
    return ok(b, b.columns(sources(r)), "allocator", f"{n} arenas come into use one after the other")


def ok_thp(r, i):
    b = broker(r, i).count()
    more, hours, at = r.uniform(.3, 2.2), logu(r, 8, 90), r.uniform(0, 20)
    part = np.clip((H - at) / hours, 0, 1)
    part = 1 - np.exp(-3 * part) if r.random() < .5 else part
    size = more * b.account().mean() * part * (1 + ar1(r, .99, .01))
    b.beside = np.maximum.accumulate(np.floor(size / 2**21) * 2**21)
    return ok(b, b.columns(sources(r)), "allocator", "khugepaged collapses pages: rss creeps to a multiple, then stays")


def ok_page_cache(r, i):
    b = broker(r, i).count()
    size = logu(r, .5, 10) * b.account().mean() / 1024
    lumps = r.random() < .5
    if lumps:
        b.file_kb = b.file_kb + moving_files(b, size)
    else:
        w = np.cumsum(b.shape) / 60
        b.file_kb = b.file_kb + size * np.clip(w / logu(r, 15, 150), 0, 1) ** r.uniform(.6, 1)
    have = r.choice(["acc counts", "counts", "rss"])
    cols = b.columns(have)
    if have == "rss" and lumps:  # a cgroup's total
        del cols["anon_kb"], cols["file_kb"]
    return ok(b, cols, "page cache", "the file part grows to its limit, and rss with it; anonymous memory is flat")


def ok_reconnect_storms(r, i):
    b = broker(r, i, fleet=logu(r, 500, 15000))
    rows, _ = storms(b, int(r.integers(3, 20)))
    b.count()
    for k in rows:
        buffers(b, [k], logu(r, 500, 12000))
    return ok(b, b.columns(sources(r)), "storms", "the high-water of each reconnect storm stays with the allocator")


def ok_mass_expiry(r, i):
    b = broker(r, i)
    n, x = int(r.integers(1, 6)), b.retained[0]
    at = np.sort(r.uniform(15, 165, n))
    grow = r.poisson(logu(r, 1, 20), ROWS).astype(float)
    kept = r.uniform(.05, .6)
    level = x + np.cumsum(grow)
    for a in at:
        k = int(a * 60)
        level[k:] -= (1 - kept) * level[k]
    b.retained = level
    return ok(b, b.columns(), "expiry", "retained messages pile up and expire all at once; the allocator keeps the room")


def ok_nightly_backup(r, i):
    b = broker(r, i).count()
    at, last = r.uniform(0, 24), r.uniform(.15, 2.5)
    size = logu(r, .2, 3) * b.account().mean()
    mapped = r.random() < .5
    for d in range(8):
        a = d * 24 + at + r.normal(0, .05) - 24 * (at > 12)
        up = np.clip((H - a) / (last * .5), 0, 1) * (H < a + last)
        (b.beside if mapped else b.hidden)[:] += size * r.uniform(.8, 1.2) * up
        b.file_kb = b.file_kb + size / 1024 * r.uniform(.1, .8) * up * np.exp(-np.maximum(0, H - a) / 6)
    return ok(b, b.columns(sources(r)), "nightly", "a nightly backup takes memory for a while")


def ok_fragmentation(r, i):
    b = broker(r, i).count()
    tau, end = logu(r, .2, 8), r.uniform(30, 120)
    grow = np.log1p(np.minimum(H, end) / tau) / np.log1p(end / tau)
    b.beside = r.uniform(.15, 1.2) * b.account().mean() * grow * (1 + ar1(r, .995, .01))
    return ok(b, b.columns(sources(r)), "allocator", "churn fragments the heap: rss creeps with log of time to a plateau")


def jvm_parts(r, b, scale=1.0):
    """Committed heap, used heap, direct pool and the rest of a steady JVM."""
    b.count()
    committed, floor, tall, minutes = g1(r)
    committed, floor, tall = committed * scale, floor * scale, tall * scale
    lo = floor * np.sqrt(b.conns / b.conns.mean())
    heap = saw(r, lo, lo + tall, minutes, .05)
    direct = chunks(r.uniform(8e6, 120e6) + np.zeros(ROWS), 4 * 2**20)
    return committed, heap, direct, r.uniform(60e3, 150e3)


def ok_jvm_metaspace(r, i):
    b = broker(r, i)
    committed, heap, direct, rest = jvm_parts(r, b, .4)
    size = logu(r, 25e3, 350e3)
    if r.random() < .5:
        meta = size * (1 - np.exp(-3 * H / logu(r, 6, 110)))
    else:
        meta = np.zeros(ROWS)
        for a in r.uniform(0, r.uniform(20, 120), int(r.integers(4, 25))):
            meta += r.uniform(.3, 1) * np.clip((H - a) / logu(r, .1, 3), 0, 1)
        meta *= size / meta[-1]
    return ok(b, java_frame(b, committed + direct + rest + meta, heap, committed, direct), "warm-up",
              "classes and compiled code fill metaspace and code cache to their limits")


def ok_g1_lazy_touch(r, i):
    b = broker(r, i)
    committed, heap, direct, rest = jvm_parts(r, b)
    tau, most = logu(r, 8, 70), r.uniform(.85, 1)
    used = np.maximum.accumulate(heap)
    touched = committed * most * (1 - np.exp(-H / tau))
    if r.random() < .4:  # the old generation is walked evenly
        touched = committed * most * np.clip(np.cumsum(b.shape) / 60 / (2 * tau), 0, 1)
    anon = np.minimum(np.maximum(used, touched), committed) + direct + rest
    return ok(b, java_frame(b, anon, heap, committed, direct), "warm-up",
              "the heap is committed from the start and touched over days, never beyond")


def managed_state(r, b):
    """Sometimes the state of a managed broker grows too, counted, or a storm passes."""
    if r.random() < .35:
        b.retained = b.retained + np.cumsum(r.poisson(logu(r, .5, 15), ROWS))
    if r.random() < .35:
        storms(b, int(r.integers(1, 6)))
    if r.random() < .3:
        b.hidden = logu(r, 10, 100) * MB * (1 - np.exp(-3 * H / logu(r, 5, 60)))
    return b


def ok_beam(r, i):
    b = managed_state(r, broker(r, i))
    return ok(b, beam(r, b), "managed", "Erlang: carriers and collections move, nothing is lost")


def ok_go(r, i):
    b = managed_state(r, broker(r, i))
    return ok(b, golang(r, b), "managed", "Go: the heap doubles between collections and is returned slowly")


def ok_weekend(r, i):
    b = broker(r, i, weekend=1.0)
    a = r.uniform(15, 95)
    quiet = (H >= a) & (H < a + r.uniform(44, 64))
    after = H >= a + 48
    b.growth = np.where(quiet, r.uniform(.25, .65), np.where(after, r.uniform(1.05, 1.6), 1.0))
    n = int(r.uniform(1, 240))
    pad = np.pad(b.growth, (n, n), mode="edge")
    b.growth = np.convolve(pad, np.ones(n) / n, "same")[n:-n]
    return ok(b, b.columns(sources(r)), "diurnal", "a quiet weekend, then a new peak on Monday")


def ok_migration(r, i):
    b = broker(r, i)
    at, hours = r.uniform(8, 110), logu(r, 1, 40)
    part = np.clip((H - at) / hours, 0, 1)
    if r.random() < .4:  # in batches
        part = np.floor(part * 12) / 12
    b.growth = 1 + r.uniform(.2, 2.5) * part
    b.more_subs = r.uniform(0, 4) * b.fleet * part
    b.retained = b.retained * (1 + r.uniform(0, 3) * part)
    return ok(b, b.columns(), "growth", "sessions and subscriptions move in from another node; all counted")
