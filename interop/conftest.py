"""Fixtures that the tests share.

Some tests run at once (`interop/run`). Those of one `xdist_group` run one after the other: `measures` are those that load
the machine or look at how fast it is; the others share something costly, or count over tests.
"""

import pytest

import broker as brokers


@pytest.fixture(scope="module")
def server():
    """A broker with shipped defaults, for a whole file of tests."""
    with brokers.Broker() as broker:
        yield broker
        assert broker.alive(), f"the broker died:\n{broker.log_text()}"


@pytest.fixture
def differs(request):
    """`differs("why")`: Debian's mosquitto 2.0.11 is known to fail this test (`always=False`: or may)."""

    def mark(why, always=True):
        if brokers.name() == "mosquitto":
            request.applymarker(pytest.mark.xfail(reason=f"mosquitto 2.0.11: {why}", strict=always))

    return mark
