"""A simulated broker: fleet, counts, account, allocator, file part, and the week's columns."""
import numpy as np

STEP, ROWS = 60, 10080
HOUR, DAY = 3600, 86400
T = np.arange(ROWS, dtype=float) * STEP
H = T / HOUR
COLUMNS = ("t start rss_kb anon_kb file_kb acc_b heap_kb heapc_kb direct_kb retained conns sess "
           "subs queued pub_total conn_total").split()


def logu(r, lo, hi):
    """A log-uniform draw."""
    return float(np.exp(r.uniform(np.log(lo), np.log(hi))))


def ar1(r, rho, sd, n=ROWS):
    """Autoregressive noise of the given standard deviation."""
    e = r.normal(0, sd * np.sqrt(1 - rho * rho), n).tolist()
    x, out = r.normal(0, sd), []
    for v in e:
        x = rho * x + v
        out.append(x)
    return np.array(out)


def day_curve(r, amp, peak_h, drift=1.0):
    """A daily swing with the lopsided second harmonic of a working day."""
    w = 2 * np.pi * (H - peak_h) / 24
    return 1 + amp * np.cos(w) + 0.3 * amp * np.cos(2 * w + 3.72 * drift)


def segments(starts):
    """(first row, one past last row) of every process life, given restart times in seconds."""
    edge = [0] + [int(np.ceil(s / STEP)) for s in starts] + [ROWS]
    return [(a, b) for a, b in zip(edge, edge[1:]) if b > a]


def age(starts):
    """Seconds since the process start, per row (the first life began at 0)."""
    s = np.zeros(ROWS)
    for x in starts:
        s[T >= x] = x
    return T - s


class Broker:
    """Counts and bytes of one broker over a week; add what the kind needs, then call `columns`."""

    def __init__(self, r, alloc="glibc", fleet=None, swing=None, weekend=None, starts=(),
                 noise=None):
        self.r, self.alloc, self.starts = r, alloc, list(starts)
        self.fleet = fleet or logu(r, 200, 12000)
        self.swing = r.uniform(0.03, 0.5) if swing is None else swing
        self.peak_h = r.uniform(0, 24)
        self.week_off = r.uniform(0, 24)
        self.weekend = r.uniform(0.7, 1) if weekend is None else weekend
        quiet = (H >= 120 - self.week_off) & (H < 168 - self.week_off)
        base = day_curve(r, self.swing, self.peak_h, r.uniform(0.93, 1.07))
        self.shape = base * np.where(quiet, self.weekend, 1) * (1 + ar1(r, r.uniform(.955, .975), r.uniform(.006, .014)))
        self.growth = np.ones(ROWS)
        self.pub_gate = np.ones(ROWS)
        self.pub_rate = 2 * np.exp(r.normal(0, .25))
        self.churn = logu(r, .002, .025)
        self.queue_share = r.uniform(.007, .014)
        self.offline = max(1, round(self.fleet * r.choice([.02, .02, .01, .05])))
        self.subs_per = r.choice([2, 2, 2, 1, 3, 5])
        self.retained = np.full(ROWS, float(round(self.fleet * logu(r, 1.2, 7))))
        self.per_conn, self.per_retained = logu(r, 1500, 10000), logu(r, 200, 1200)
        self.per_queued, self.base_b = logu(r, 150, 700), r.uniform(3e6, 18e6)
        self.more_queued = np.zeros(ROWS)
        self.more_conns = np.zeros(ROWS)     # storms: connections that are gone (negative)
        self.more_connects = np.zeros(ROWS)  # CONNECT beside the churn, per minute
        self.more_subs = np.zeros(ROWS)
        self.acc_only = np.zeros(ROWS)       # in the account and in memory, in no count
        self.hidden = np.zeros(ROWS)         # in memory, in no account, from the allocator
        self.beside = np.zeros(ROWS)         # in memory, not from the allocator (mmap)
        self.leak = np.zeros(ROWS)
        self.leak_accounted = False
        self.overhead = r.uniform(1.05, 1.22)
        self.text_b = r.uniform(2.5e6, 6e6)
        self.noise = noise or logu(r, 1e-4, 1.4e-3)
        self.host_noise = np.zeros(ROWS)     # KiB added to what is read, not allocated
        self.warm = 0.0                      # share missing just after a start
        self.warm_s = 3600.0
        self.init_file()
        self._done = False

    def init_file(self):
        """The file part: pages dropped and read back, a jump every half day or so."""
        r = self.r
        f0 = logu(r, 4000, 15000)
        f = np.full(ROWS, f0)
        for at in np.sort(r.uniform(0, 168, r.poisson(168 / r.uniform(8, 35)))):
            f[H >= at] = f0 * r.uniform(.48, 1)
        self.file_kb = f

    def count(self):
        """Draw the counts (once) from the fleet's curve."""
        if self._done:
            return self
        r, self._done = self.r, True
        c = self.fleet * self.shape * self.growth + self.more_conns
        self.conns = np.maximum(0, np.round(c))
        self.sess = self.conns + self.offline - np.minimum(0, np.round(self.more_conns))
        self.subs = self.sess * self.subs_per + np.round(self.more_subs)
        q = np.abs(self.queue_share + ar1(r, r.uniform(.9, .95), self.queue_share * .52)) * self.conns
        self.queued = np.round(q + self.more_queued)
        rate = self.fleet * self.shape + np.minimum(0, self.more_conns)
        self.pubs = r.poisson(np.maximum(0, self.pub_rate * rate * self.pub_gate))
        self.connects = r.poisson(np.maximum(0, self.churn * self.conns + self.more_connects))
        self.retained = np.round(self.retained)
        return self

    def drive(self, driver, rate, onset=0.0, gate=None):
        """Leak on average `rate` B/h from `onset`, in proportion to `driver` and, if given, to `gate`."""
        self.count()
        w = {"time": np.full(ROWS, 1.0), "pub_total": self.pubs + 0.0,
             "conn_total": self.connects + 0.0}[driver]
        if driver == "time":
            w = w * np.maximum(.2, 1 + ar1(self.r, .9, .05))
        w = w * (T >= onset) * (1 if gate is None else gate)
        total = rate * (ROWS * STEP - onset) / HOUR
        self.leak = self.reset(np.cumsum(w * total / max(w.sum(), 1)))
        return self

    def reset(self, x):
        """A counter that begins anew at every start."""
        x = x.copy()
        for a, _ in segments(self.starts)[1:]:
            x[a:] -= x[a - 1]
        return x

    def account(self):
        """The live bytes that the broker's counts explain, and what else is in its account."""
        self.count()
        return (self.base_b + self.per_conn * self.conns + self.per_retained * self.retained
                + self.per_queued * self.queued + self.acc_only
                + (self.leak if self.leak_accounted else 0))

    def columns(self, have="acc counts"):
        """All columns; `visible_kb` is what the leak added to the resident part."""
        r, acc = self.r, self.account()
        live = acc + self.hidden
        leak = 0 if self.leak_accounted else self.leak
        keep = Keeper(r, self.alloc, self.starts)
        heap = keep(live + leak)
        clean = keep(live - (self.leak if self.leak_accounted else 0))
        fresh = 1 - self.warm * np.exp(-age(self.starts) / self.warm_s)
        to_kb = lambda b: (self.text_b + self.overhead * b * fresh + self.beside) / 1024
        anon = to_kb(heap)
        self.visible_kb = anon - to_kb(clean)
        n = self.noise * np.median(anon) + 4
        anon = anon + n * (.7 * ar1(r, .85, 1) + .3 * r.normal(0, 1, ROWS)) + self.host_noise
        out = self.frame(anon, have)
        if "acc" in have:
            out["acc_b"] = np.round(acc)
        return out

    def frame(self, anon_kb, have):
        """The columns every broker has, and the counts if `have` names them."""
        self.count()
        page = lambda x: np.maximum(0, np.round(x / 4) * 4)
        out = {"t": T, "start": np.floor(T - age(self.starts)), "anon_kb": page(anon_kb), "file_kb": page(self.file_kb)}
        out["rss_kb"] = out["anon_kb"] + out["file_kb"]
        if "counts" in have:
            out.update(retained=self.retained, conns=self.conns, sess=self.sess, subs=self.subs,
                       pub_total=self.reset(np.cumsum(self.pubs)), conn_total=self.reset(np.cumsum(self.connects)))
            if "noqueue" not in have:
                out["queued"] = self.queued
        return out


class Keeper:
    """What an allocator holds for a course of live bytes; the same trims for every call."""

    def __init__(self, r, alloc, starts):
        self.alloc, self.segs = alloc, segments(starts)
        every = logu(r, 8, 60)
        n = r.poisson(168 / every)
        self.trims = sorted(zip(r.integers(1, ROWS, n).tolist(), r.beta(.7, 1.6, n).tolist()))
        self.tau = logu(r, .5, 30)     # minutes, decay of an allocator that gives back
        self.keep = r.uniform(0, .12)  # share of its high-water it keeps all the same

    def __call__(self, live):
        out = np.empty(ROWS)
        for a, b in self.segs:
            out[a:b] = self.high_water(live[a:b], a) if self.alloc == "glibc" else self.decay(live[a:b])
        return out

    def high_water(self, x, first):
        """Grows with its peak; a trim now and then returns part of the slack."""
        y, at, top = np.empty(len(x)), 0, x[0]
        cuts = [(k - first, u) for k, u in self.trims if 0 < k - first < len(x)] + [(len(x), 0)]
        for k, u in cuts:
            if k > at:
                y[at:k] = np.maximum(top, np.maximum.accumulate(x[at:k]))
                top, at = y[k - 1], k
            if k < len(x):
                top = x[k] + (top - x[k]) * (1 - u) if top > x[k] else top
        return y

    def decay(self, x):
        """Follows upward at once and downward with a time constant, but for a kept share."""
        a, y, out = 1 - np.exp(-1 / self.tau), x[0], []
        for v in x.tolist():
            y = v if v >= y else y - (y - v) * a
            out.append(y)
        out = np.array(out)
        return out + self.keep * (np.maximum.accumulate(out) - out)
