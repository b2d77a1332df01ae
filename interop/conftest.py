"""Fixtures that the tests share."""

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
