"""A TCP line with a round-trip time and a bandwidth, on loopback, for kernels without traffic control.

Bytes leave in each direction at the given rate, all connections together, and arrive half a round trip later. Opening
a connection costs one round trip. There is no loss and no slow start: what is seen is the number of waits for answers.
"""

import collections
import socket
import threading
import time


class DelayedLine:
    """Forwards connections to `upstream` until the program ends; `host` is where to connect."""

    CHUNK = 64 * 1024

    def __init__(self, upstream, rtt, rate):
        host, port = upstream.split(":")
        self.upstream, self.rtt, self.rate = (host, int(port)), rtt, rate
        self.lock = threading.Lock()
        # When each direction's line is free again.
        self.free = {"up": 0.0, "down": 0.0}
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.host = "127.0.0.1:%d" % listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self._serve, args=(client, time.monotonic()), daemon=True).start()

    def _serve(self, client, opened):
        server = socket.create_connection(self.upstream)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # The client's first byte could not have left before its connection was answered.
        for direction, source, target in (("up", client, server), ("down", server, client)):
            first = opened + self.rtt if direction == "up" else opened
            queue, filled = collections.deque(), threading.Condition()
            arguments = (direction, source, first, queue, filled)
            threading.Thread(target=self._take, args=arguments, daemon=True).start()
            threading.Thread(target=self._give, args=(target, queue, filled), daemon=True).start()

    def _take(self, direction, source, first, queue, filled):
        while True:
            try:
                data = source.recv(self.CHUNK)
            except OSError:
                data = b""
            with self.lock:
                leaves = max(self.free[direction], time.monotonic(), first) + len(data) / self.rate
                self.free[direction] = leaves
            with filled:
                queue.append((leaves + self.rtt / 2, data))
                filled.notify()
                # As much as a window of four round trips holds; more would hide that a reader is slow.
                filled.wait_for(lambda: len(queue) * self.CHUNK < 4 * self.rtt * self.rate + 4 * self.CHUNK)
            if not data:
                return

    @staticmethod
    def _give(target, queue, filled):
        while True:
            with filled:
                filled.wait_for(lambda: queue)
                due, data = queue.popleft()
                filled.notify()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if data:
                    target.sendall(data)
                else:
                    target.shutdown(socket.SHUT_WR)
                    return
            except OSError:
                return
