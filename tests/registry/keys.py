"""Certificates of a moment for test servers, made by the openssl program."""
import os
import subprocess


def _openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def signing_certificate(folder):
    """(certificate, key) that signs for itself: what a token server signs its tokens with."""
    certificate, key = os.path.join(folder, "sign.crt"), os.path.join(folder, "sign.key")
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
             "-days", "2", "-subj", "/CN=berth test tokens")
    return certificate, key


def server_certificate(folder, name="localhost"):
    """(authority, certificate, key): a server certificate for 127.0.0.1, localhost and `name`."""
    authority, authority_key = os.path.join(folder, "ca.crt"), os.path.join(folder, "ca.key")
    certificate, key = os.path.join(folder, "tls.crt"), os.path.join(folder, "tls.key")
    request, names = os.path.join(folder, "tls.csr"), os.path.join(folder, "tls.ext")
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", authority_key,
             "-out", authority, "-days", "2", "-subj", "/CN=berth test authority")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request,
             "-subj", "/CN=localhost")
    with open(names, "w", encoding="utf-8") as out:
        out.write(f"subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:{name}\n")
    _openssl("x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key,
             "-CAcreateserial", "-out", certificate, "-days", "2", "-extfile", names)
    return authority, certificate, key


def client_certificate(folder):
    """(certificate, key) of a client, from the authority that server_certificate() made in the same folder."""
    certificate, key = os.path.join(folder, "client.crt"), os.path.join(folder, "client.key")
    request = os.path.join(folder, "client.csr")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=a node")
    _openssl("x509", "-req", "-in", request, "-CA", os.path.join(folder, "ca.crt"),
             "-CAkey", os.path.join(folder, "ca.key"), "-CAcreateserial", "-out", certificate, "-days", "2")
    return certificate, key
