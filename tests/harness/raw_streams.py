"""A client of streaming URLs that goes away wherever it is told to: SPDY and WebSocket by hand, on a bare socket."""
import socket
import struct
import urllib.parse

# Header blocks are one zlib stream with SPDY/3's dictionary; stored blocks need its checksum and not the text.
ZLIB_WITH_DICTIONARY = bytes.fromhex("78bbe3c6a7c2")
KINDS = {"exec": "v4.channel.k8s.io", "attach": "v4.channel.k8s.io", "portforward": "portforward.k8s.io"}
# Where the client goes away.
STAGES = ["connected", "in the request", "request sent", "upgraded", "streams open", "half closed", "reset"]


def request(url, protocol):
    """What asks for the upgrade."""
    parts = urllib.parse.urlsplit(url)
    version = KINDS[parts.path.split("/")[1]]
    if protocol == "spdy":
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", "Upgrade: SPDY/3.1",
                 f"X-Stream-Protocol-Version: {version}"]
    else:
        lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: Upgrade", "Upgrade: websocket",
                 "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
                 "Sec-WebSocket-Protocol: v4.channel.k8s.io"]
    return "".join(line + "\r\n" for line in [*lines, ""]).encode()


def spdy_streams(streams):
    """SYN_STREAM frames, one for each dict of headers."""
    frames = b""
    for number, headers in enumerate(streams):
        block = struct.pack(">I", len(headers))
        for text in (text.encode() for pair in headers.items() for text in pair):
            block += struct.pack(">I", len(text)) + text
        stored = struct.pack("<BHH", 0, len(block), len(block) ^ 0xffff) + block
        payload = struct.pack(">IIH", 2 * number + 1, 0, 0) + (b"" if number else ZLIB_WITH_DICTIONARY) + stored
        frames += struct.pack(">HHI", 0x8003, 1, len(payload)) + payload
    return frames


def streams_of(kind, port=0, tty=False):
    """The headers of what such a session consists of."""
    if kind == "portforward":
        return [{"streamtype": name, "port": str(port), "requestid": "0"} for name in ("error", "data")]
    names = ["error", "stdin", "stdout", *(["resize"] if tty else ["stderr"])]
    return [{"streamtype": name} for name in names]


def data_for(protocol, number, data):
    """A frame of data: of SPDY's stream 2 * number + 1, or of a WebSocket's channel (masked with zeros)."""
    if protocol == "spdy":
        return struct.pack(">II", 2 * number + 1, len(data)) + data
    size = len(data) + 1
    return (bytes([0x82, 0x80 + size]) if size < 126 else struct.pack(">BBH", 0x82, 0xfe, size)) + bytes(4) + \
        bytes([number]) + data


def stdin_data(protocol, data):
    return data_for(protocol, 1 if protocol == "spdy" else 0, data)


def connect(url):
    parts = urllib.parse.urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def read_answer(connection):
    """The answer's header, and what came behind it; it must be an upgrade."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(4096)
        assert more, f"not upgraded: {got!r}"
        got += more
    assert got.startswith(b"HTTP/1.1 101 "), got
    return got.partition(b"\r\n\r\n")


def open_streams(connection, protocol, kind, port=0, tty=False):
    """By WebSocket they are open from the beginning."""
    if protocol == "spdy":
        connection.sendall(spdy_streams(streams_of(kind, port, tty)))


def begin(url, protocol):
    """A connection with all streams of an exec or attach open."""
    connection = connect(url)
    connection.sendall(request(url, protocol))
    read_answer(connection)
    open_streams(connection, protocol, "exec")
    return connection


def abort(url, protocol, stage, port=0, tty=False):
    """Goes as far as `stage` with a session of `url`, and away."""
    kind = urllib.parse.urlsplit(url).path.split("/")[1]
    reached = STAGES.index(stage)
    with connect(url) as connection:
        head = request(url, protocol)
        if stage == "connected":
            return
        connection.sendall(head[:len(head) // 2] if stage == "in the request" else head)
        if reached < STAGES.index("upgraded"):
            return
        behind = read_answer(connection)[2]
        if reached < STAGES.index("streams open"):
            return
        open_streams(connection, protocol, kind, port, tty)
        connection.sendall(stdin_data(protocol, b"x" * 99 + b"\n"))
        if protocol == "spdy" and not behind:
            assert connection.recv(8)     # SYN_REPLY
        if stage == "half closed":
            connection.shutdown(socket.SHUT_WR)
        elif stage == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
