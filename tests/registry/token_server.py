"""A token server as the distribution protocol's bearer authentication wants it, for docker-registry's "token" method.

It knows one user, gives whom it knows (or anybody, with anonymous=True) a signed token for what they asked, and keeps
every request it saw in `requests`, so that a test can look at what a client sent where.
"""
import base64
import http.server
import json
import secrets
import ssl
import subprocess
import threading
import time
import urllib.parse

from registry import keys


def _base64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    issuer = "berth-test-issuer"
    service = "berth-test-registry"

    def __init__(self, folder, user, password, anonymous=False, tls=None):
        """tls: (certificate, key) to serve HTTPS with."""
        self.certificate, self.key = keys.signing_certificate(folder)
        self.user, self.password, self.anonymous = user, password, anonymous
        self.requests, self.issued = [], []    # issued: the tokens
        self.identity = ""    # a refresh token that is as good as user and password
        self.lifetime = 300
        self.field = "token"
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.realm = f"{'https' if tls else 'http'}://{self.host}/token"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def start(self):
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def sign(self, scopes):
        access = []
        for scope in scopes:
            kind, rest = scope.split(":", 1)
            name, actions = rest.rsplit(":", 1)
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        with open(self.certificate, encoding="utf-8") as pem:
            der = "".join(line for line in pem.read().splitlines() if "-----" not in line)
        now = int(time.time())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [der]}
        claims = {"iss": self.issuer, "sub": self.user, "aud": self.service, "iat": now,
                  "nbf": now - 10, "exp": now + self.lifetime, "jti": secrets.token_hex(8),
                  "access": access}
        text = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key],
                                   input=text.encode(), check=True,
                                   stdout=subprocess.PIPE).stdout
        self.issued.append(f"{text}.{_base64(signature)}")
        return self.issued[-1]

    def _handler(self):
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def _answer(self, status, document):
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _grant(self, fields, user, password):
                owner.requests.append({"path": self.path, "fields": fields, "user": user,
                                       "authorization": self.headers.get("Authorization", "")})
                known = (user, password) == (owner.user, owner.password) or \
                    owner.identity and fields.get("refresh_token") == [owner.identity]
                if not known and not (owner.anonymous and not user):
                    self._answer(401, {"errors": [{"code": "UNAUTHORIZED",
                                                   "message": "authentication required"}]})
                    return
                self._answer(200, {owner.field: owner.sign(fields.get("scope", [])),
                                   "expires_in": owner.lifetime})

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                user = password = ""
                scheme, _, value = self.headers.get("Authorization", "").partition(" ")
                if scheme.lower() == "basic":
                    user, _, password = base64.b64decode(value).decode().partition(":")
                self._grant(urllib.parse.parse_qs(url.query), user, password)

            def do_POST(self):
                length = int(self.headers.get("Content-Length", 0))
                fields = urllib.parse.parse_qs(self.rfile.read(length).decode())
                # One value with spaces in between, unlike in a GET.
                fields["scope"] = fields.get("scope", [""])[0].split()
                self._grant(fields, fields.get("username", [""])[0],
                            fields.get("password", [""])[0])

        return Handler
