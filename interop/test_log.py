"""The log as JSON, as a collector reads it."""

import json
import os
import re
import time

import pytest

import broker as brokers
import stock

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own format")

# A broker that root has started could not read a test's files again after it became another user.
STAY = "user root\n" if os.geteuid() == 0 else ""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def objects(text):
    return [json.loads(line) for line in text.splitlines()]
