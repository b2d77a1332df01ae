"""Paho clients that keep what they receive."""

import queue
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

WAIT = 20


def properties(packet, **values):
    """MQTT 5 properties by Paho's names."""
    made = Properties(getattr(PacketTypes, packet))
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client:
    """A connected client: `messages` is what it received, in order."""

    def __init__(self, port, identifier="", version=5, clean=True, will=None, keepalive=60, connect=None, **options):
        v5 = version == 5
        self.v5 = v5
        kind = {3: mqtt.MQTTv31, 4: mqtt.MQTTv311, 5: mqtt.MQTTv5}[version]
        more = {} if v5 else {"clean_session": clean}
        self.paho = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=identifier, protocol=kind, reconnect_on_failure=False, **more, **options
        )
        self.messages = queue.Queue()
        self.connacks = queue.Queue()
        self.subacks = queue.Queue()
        self.disconnects = queue.Queue()
        self.paho.on_message = lambda c, u, message: self.messages.put(message)
        self.paho.on_connect = lambda c, u, flags, reason, props: self.connacks.put((flags, reason, props))
        self.paho.on_subscribe = lambda c, u, mid, reasons, props: self.subacks.put(reasons)
        self.paho.on_disconnect = lambda c, u, flags, reason, props: self.disconnects.put(flags)
        if will:
            self.paho.will_set(**will)
        arguments = {"clean_start": clean, "properties": properties("CONNECT", **(connect or {}))} if v5 else {}
        self.paho.connect("127.0.0.1", port, keepalive, **arguments)
        self.paho.loop_start()
        self.flags, self.reason, self.connack = self.connacks.get(timeout=WAIT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def subscribe(self, topic, qos=0, **options):
        """Subscribes and waits for SUBACK; answers its reason codes."""
        props = options.pop("properties", None)
        if self.v5:
            wanted = mqtt.SubscribeOptions(qos=qos, **options)
            self.paho.subscribe(topic, options=wanted, properties=props)
        else:
            self.paho.subscribe(topic, qos)
        return [code.value for code in self.subacks.get(timeout=WAIT)]

    def publish(self, topic, payload, qos=0, retain=False, wait=True, **props):
        """Publishes, and waits for the acknowledgement."""
        made = properties("PUBLISH", **props) if self.v5 and props else None
        info = self.paho.publish(topic, payload, qos, retain, properties=made)
        if wait:
            info.wait_for_publish(WAIT)
        return info

    def next(self, timeout=WAIT):
        """The next message."""
        return self.messages.get(timeout=timeout)

    def payloads(self, count, timeout=WAIT):
        """The payloads of the next `count` messages."""
        return [self.next(timeout).payload.decode() for _ in range(count)]

    def silent(self, seconds=0.3):
        """Whether nothing comes for a while."""
        time.sleep(seconds)
        return self.messages.empty()

    def end(self):
        """Disconnects."""
        self.paho.disconnect()
        self.paho.loop_stop()

    def vanish(self):
        """Ends the connection without DISCONNECT."""
        self.paho.loop_stop()
        self.paho._sock_close()
