"""A TCP proxy that loses what it is told to lose, as networks do."""

import contextlib
import socket
import threading


class Proxy:
    """Between a client and `upstream` (host:port). While `loses_answers` says yes, nothing goes back to the client; while `loses_requests` does,
    nothing goes to the server; `cut` ends all connections, and with `down` there are no new ones."""

    def __init__(self, upstream):
        host, port = upstream.rsplit(":", 1)
        self.upstream = (host, int(port))
        self.loses_answers = self.loses_requests = lambda: False
        self.lost = threading.Event()
        self.down = False
        self.sockets = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.down:
                client.close()
                continue
            try:
                server = socket.create_connection(self.upstream)
            except OSError:
                client.close()
                continue
            self.sockets |= {client, server}
            threading.Thread(target=self._pump, args=(client, server, lambda: self.loses_requests()), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, lambda: self.loses_answers()), daemon=True).start()

    def _pump(self, source, sink, loses):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if loses():
                    self.lost.set()
                else:
                    sink.sendall(data)
        self._end(source, sink)

    def _end(self, *sockets):
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
            self.sockets.discard(each)

    def cut(self):
        self._end(*list(self.sockets))

    def close(self):
        self.listener.close()
        self.cut()
