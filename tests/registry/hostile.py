"""Layers that try to get out of their root, and other archives nobody should trust.

`escapes(canary)` gives the layers of each attack on the folder `canary`, which lies outside every root. Whatever a
runtime makes of such an image, refusing it or taking the harmless part, the canary must stay as it is.
`broken()` gives layers that must be refused, because no honest archive looks like that.
"""
import gzip
import io
import tarfile

from images import oci
from images.oci import Layer, char_device, directory, file, hardlink, symlink, whiteout

PWNED = "pwned by a layer\n"


def escapes(canary):
    """name -> list of layers; `canary` is an absolute path holding one file, `alive`."""
    up = "../" * 24
    inside = canary.lstrip("/")
    return {
        "absolute-name": [Layer([file(f"{canary}/pwned", PWNED)])],
        "dotdot-name": [Layer([file(f"{up}{inside}/pwned", PWNED)])],
        "dotdot-in-the-middle": [Layer([directory("a"), file(f"a/{up}{inside}/pwned", PWNED)])],
        "dot-and-dotdot": [Layer([file(f"./.././{up}{inside}/pwned", PWNED)])],
        "symlink-then-file": [Layer([symlink("out", canary), file("out/pwned", PWNED)])],
        "relative-symlink-then-file": [Layer([symlink("out", up + inside), file("out/pwned", PWNED)])],
        "symlink-chain": [Layer([symlink("one", "/"), symlink("two", f"one/{inside}"),
                                 file("two/pwned", PWNED)])],
        "file-through-symlink": [Layer([symlink("alive", f"{canary}/alive"), file("alive", PWNED)])],
        "symlink-from-lower-layer": [Layer([symlink("out", canary)]), Layer([file("out/pwned", PWNED)])],
        "directory-over-symlink": [Layer([symlink("out", canary), directory("out", mode=0o777),
                                          file("out/pwned", PWNED)])],
        "hardlink-to-host": [Layer([hardlink("shadow", f"{canary}/alive"), file("shadow", PWNED)])],
        "hardlink-dotdot": [Layer([hardlink("shadow", f"{up}{inside}/alive"), file("shadow", PWNED)])],
        "hardlink-through-symlink": [Layer([symlink("out", canary), hardlink("mine", "out/alive"),
                                            file("mine", PWNED)])],
        "hardlink-to-symlink": [Layer([symlink("out", f"{canary}/alive"), hardlink("mine", "out"),
                                       file("mine", PWNED)])],
        "whiteout-dotdot": [Layer([file(f"{up}{inside}/.wh.alive")])],
        "whiteout-absolute": [Layer([file(f"{canary}/.wh.alive")])],
        "whiteout-of-dotdot": [Layer([directory("a"), file("a/.wh...")])],
        "whiteout-of-dot": [Layer([directory("a"), file("a/.wh..")])],
        "whiteout-of-nothing": [Layer([directory("a"), file("a/.wh.")])],
        "whiteout-through-symlink": [Layer([symlink("out", canary), whiteout("out/alive")])],
        "opaque-through-symlink": [Layer([symlink("out", canary), file("out/.wh..wh..opq")])],
        "chmod-through-symlink": [Layer([symlink("alive", f"{canary}/alive"),
                                         directory("alive", mode=0o777)])],
        "xattr-through-symlink": [Layer([symlink("out", canary),
                                         directory("out/", xattrs={"user.pwned": b"1"})])],
        "device-over-symlink": [Layer([symlink("out", canary), char_device("out/null", 1, 3)])],
        "root-is-a-symlink": [Layer([symlink(".", canary), file("pwned", PWNED)])],
        "root-is-a-symlink-2": [Layer([symlink("./", canary), file("pwned", PWNED)])],
    }


def _raw(tar, compression=""):
    """A layer of bytes that need not be an archive."""
    layer = Layer([], compression)
    layer._tar = tar
    return layer


def _pax(headers, name="x", data=b""):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.pax_headers = headers
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _edited(members, edit):
    data = bytearray(Layer(members).tar())
    edit(data)
    return bytes(data)


def _claim_size(data, octal=b"77777777777\0"):
    """Says the first member is 8 GiB long."""
    data[124:136] = octal
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])


def broken():
    """name -> layer that no runtime should take."""
    good = Layer([file("x", "x" * 5000), file("y", "y")])
    return {
        "not-a-tar": _raw(b"this is not an archive. " * 100),
        "cut-tar": _raw(good.tar()[:700]),
        "bad-checksum": _raw(_edited([file("x", "1")], lambda d: d.__setitem__(148, 0x39))),
        "size-beyond-end": _raw(_edited([file("x", "1")], _claim_size)),
        "negative-size": _raw(_edited([file("x", "1")], lambda d: _claim_size(d, b"\xff" * 12))),
        "pax-size-lies": _raw(_pax({"size": "99999999999999999999"})),
        "pax-negative-size": _raw(_pax({"size": "-1"})),
        "name-with-nul-path": _raw(_pax({"path": "a" * 70000})),
    }


class Repacked(Layer):
    """A layer whose blob is `edit(blob)`: its descriptor is right, the content is not what it should be."""

    def __init__(self, layer, edit):
        super().__init__(layer.members, layer.compression)
        self.edit = edit

    def blob(self):
        return self.edit(super().blob())


def corrupt_streams():
    """name -> layer with a right digest and a stream that does not decompress to what the image says."""
    good = Layer([file("x", bytes(range(256)) * 400)])
    zstd = Layer(good.members, "zstd")
    return {
        "gzip-cut": Repacked(good, lambda blob: blob[:len(blob) // 2]),
        "gzip-bad-crc": Repacked(good, lambda blob: blob[:-8] + bytes(4) + blob[-4:]),
        "gzip-bad-bits": Repacked(good, lambda blob: blob[:200] + b"\xff" * 50 + blob[250:]),
        "gzip-garbage-after": Repacked(good, lambda blob: blob + b"garbage" * 10),
        "gzip-other-content": Repacked(good, lambda _: gzip.compress(Layer([file("z", "z")]).tar(), mtime=0)),
        "zstd-cut": Repacked(zstd, lambda blob: blob[:len(blob) // 2]),
        "zstd-bad-bits": Repacked(zstd, lambda blob: blob[:40] + b"\xff" * 8 + blob[48:]),
        "empty-blob": Repacked(good, lambda _: b""),
    }


def bomb(megabytes=64):
    """A layer that is a thousand times as large unpacked as packed."""
    return Layer([file("zeros", bytes(megabytes << 20))])


def plain_image(*layers):
    return oci.Image(layers, {"Cmd": ["sh"]})
