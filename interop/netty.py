"""A server on Debian's Netty that forgets to release buffers (interop/watch/NettyLeak.java), behind Debian's Jolokia."""

import os
import socket
import subprocess
from pathlib import Path

import broker as brokers
from services import until

JARS = [f"/usr/share/java/{name}.jar" for name in ("netty-buffer", "netty-common", "netty-transport", "netty-resolver", "jctools-core", "jolokia-core", "json-simple")]
SOURCE = Path(__file__).resolve().parent / "watch" / "NettyLeak.java"
# What Netty asks for before it takes memory past the JVM's pool, and counts it itself (DIRECT_MEMORY_COUNTER).
ALLOWED = ["-Dio.netty.tryReflectionSetAccessible=true", "--add-opens=java.base/java.nio=ALL-UNNAMED", "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED"]
LIMIT = 96 << 20
# A buffer that has been forgotten: Netty reads a message of `MESSAGE` bytes into one of the next size class.
MESSAGE, BUFFER = 2000, 2048


def compiled(directory):
    """The class path of the program, compiled into a directory, which is made."""
    missing = [jar for jar in JARS if not os.path.exists(jar)]
    assert not missing, f"{missing} are not there: apt-get install libnetty-java libjolokia-core-java"
    Path(directory).mkdir(exist_ok=True)
    subprocess.run(["javac", "-d", directory, "-cp", ":".join(JARS), SOURCE], check=True)
    return ":".join([str(directory), *JARS])


class Platform:
    """One such server. With `counter` Netty counts its memory itself; without, as on any JDK since 9, it is in the JVM's pool."""

    def __init__(self, classes, counter):
        self.port, self.http = brokers.free_port(), brokers.free_port()
        # Chunks of 256 KiB, so that what grows by days grows smoothly in a minute.
        flags = ["-Xmx64m", "-XX:+UseSerialGC", f"-Dio.netty.maxDirectMemory={LIMIT}", f"-XX:MaxDirectMemorySize={LIMIT}", "-Dio.netty.allocator.maxOrder=5"]
        command = ["java", *flags, *(ALLOWED if counter else []), "-cp", classes, "NettyLeak", str(self.port), str(self.http)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.client = until(lambda: socket.create_connection(("127.0.0.1", self.port), 5))
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def url(self, path=""):
        return f"http://127.0.0.1:{self.http}{path}"

    def talk(self, count, forgotten):
        """Sends messages, one after the other, and has the answer to each; buffers of `forgotten` ones stay."""
        message = (b"!" if forgotten else b".") * MESSAGE
        for _ in range(count):
            self.client.sendall(message)
            assert self.client.recv(1) == b"."

    def stop(self):
        self.client.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
