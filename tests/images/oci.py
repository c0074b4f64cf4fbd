"""Builds OCI images from nothing: layers out of Python values, byte for byte the same on every run.

A `Layer` is an ordered list of tar members. Members are written exactly as given, so a test can also
make archives that no tool would make. An `Image` adds a configuration; an `Index` lists images by
platform. All of them end up as blobs in a `BlobStore`, which is an OCI image layout's blobs folder.
"""
import dataclasses
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
import weakref

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

# Any fixed moment: nothing in an image may depend on when it was built.
EPOCH = 1700000000
CREATED = "2023-11-14T22:13:20Z"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclasses.dataclass
class Member:
    """One entry of a layer's tar archive. `kind` is a tarfile type constant."""
    name: str
    kind: bytes = tarfile.REGTYPE
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""
    device: tuple = (0, 0)
    xattrs: dict = dataclasses.field(default_factory=dict)
    mtime: int = EPOCH

    def tarinfo(self):
        info = tarfile.TarInfo(self.name)
        info.type = self.kind
        info.size = len(self.data) if self.kind == tarfile.REGTYPE else 0
        info.mode, info.uid, info.gid, info.mtime = self.mode, self.uid, self.gid, self.mtime
        info.linkname = self.link
        info.devmajor, info.devminor = self.device
        info.pax_headers = {
            "SCHILY.xattr." + key: value.decode("utf-8", "surrogateescape")
            for key, value in self.xattrs.items()
        }
        return info


def file(name, data=b"", mode=0o644, **rest):
    return Member(name, data=data.encode() if isinstance(data, str) else data, mode=mode, **rest)


def directory(name, mode=0o755, **rest):
    return Member(name, tarfile.DIRTYPE, mode=mode, **rest)


def symlink(name, target, **rest):
    return Member(name, tarfile.SYMTYPE, link=target, mode=0o777, **rest)


def hardlink(name, target, **rest):
    return Member(name, tarfile.LNKTYPE, link=target, **rest)


def fifo(name, **rest):
    return Member(name, tarfile.FIFOTYPE, **rest)


def char_device(name, major, minor, **rest):
    return Member(name, tarfile.CHRTYPE, device=(major, minor), **rest)


def block_device(name, major, minor, **rest):
    return Member(name, tarfile.BLKTYPE, device=(major, minor), **rest)


def whiteout(path):
    folder, base = os.path.split(path)
    return file(os.path.join(folder, ".wh." + base))


def opaque(folder):
    return file(os.path.join(folder, ".wh..wh..opq"))


class Layer:
    """A layer's members and how they are packed: 'gzip', 'zstd' or '' for a plain tar."""

    def __init__(self, members, compression="gzip"):
        self.members = list(members)
        self.compression = compression
        self._tar = None

    def tar(self):
        if self._tar is None:
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT,
                              encoding="utf-8", errors="surrogateescape") as archive:
                for member in self.members:
                    info = member.tarinfo()
                    archive.addfile(info, io.BytesIO(member.data) if info.size else None)
            self._tar = out.getvalue()
        return self._tar

    def diff_id(self):
        return digest(self.tar())

    def blob(self):
        if self.compression == "gzip":
            return gzip.compress(self.tar(), compresslevel=6, mtime=0)
        if self.compression == "zstd":
            return subprocess.run(["zstd", "-q", "-c", "-3"], input=self.tar(), check=True,
                                  stdout=subprocess.PIPE).stdout
        return self.tar()

    def media_type(self, docker=False):
        base = DOCKER_LAYER if docker else OCI_LAYER
        if not self.compression:
            return base
        return f"{base}.gzip" if docker else f"{base}+{self.compression}"


class BlobStore:
    """The blobs of an OCI image layout, in a folder or (folder=None) in memory."""

    def __init__(self, folder=None):
        self.folder = folder
        self.memory = {}

    def path(self, name):
        return os.path.join(self.folder, "blobs", *name.split(":"))

    def put(self, data):
        name = digest(data)
        if self.folder is None:
            self.memory[name] = data
        elif not os.path.exists(self.path(name)):
            os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
            with open(self.path(name) + ".part", "wb") as out:
                out.write(data)
            os.rename(self.path(name) + ".part", self.path(name))
        return name

    def get(self, name):
        if self.folder is None:
            return self.memory[name]
        with open(self.path(name), "rb") as blob:
            return blob.read()


def encode(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


class Image:
    """One image for one platform. `config` is the `config` object of the image configuration."""

    def __init__(self, layers, config=None, architecture="amd64", variant="", docker=False,
                 labels=None):
        self.layers = list(layers)
        self.config = dict(config or {})
        if labels:
            self.config["Labels"] = labels
        self.architecture, self.variant, self.docker = architecture, variant, docker
        self._descriptor = weakref.WeakKeyDictionary()    # by store

    def configuration(self):
        document = {
            "architecture": self.architecture, "os": "linux", "created": CREATED,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id() for layer in self.layers]},
            "history": [{"created": CREATED, "created_by": "berth test image"}
                        for _ in self.layers],
        }
        if self.variant:
            document["variant"] = self.variant
        return document

    def platform(self):
        document = {"architecture": self.architecture, "os": "linux"}
        if self.variant:
            document["variant"] = self.variant
        return document

    def manifest(self, store):
        config = encode(self.configuration())
        layers = []
        for layer in self.layers:
            blob = layer.blob()
            layers.append({"mediaType": layer.media_type(self.docker), "digest": store.put(blob),
                           "size": len(blob)})
        return {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if self.docker else OCI_MANIFEST,
            "config": {"mediaType": DOCKER_CONFIG if self.docker else OCI_CONFIG,
                       "digest": store.put(config), "size": len(config)},
            "layers": layers,
        }

    def put(self, store):
        """Writes all of it; returns the descriptor of the manifest."""
        if store not in self._descriptor:
            manifest = encode(self.manifest(store))
            self._descriptor[store] = {
                "mediaType": DOCKER_MANIFEST if self.docker else OCI_MANIFEST,
                "digest": store.put(manifest), "size": len(manifest)}
        return self._descriptor[store]


class Artifact:
    """Files that are no root file system: `files` are pairs of title and bytes, in order."""

    def __init__(self, files, artifact_type="application/vnd.berth.test", annotations=None,
                 config_type="application/vnd.oci.empty.v1+json"):
        self.files, self.artifact_type = list(files), artifact_type
        self.annotations, self.config_type = dict(annotations or {}), config_type

    def put(self, store):
        layers = [{"mediaType": "application/octet-stream", "digest": store.put(data), "size": len(data),
                   **({"annotations": {"org.opencontainers.image.title": title}} if title is not None else {})}
                  for title, data in self.files]
        manifest = encode({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            **({"artifactType": self.artifact_type} if self.artifact_type else {}),
            "config": {"mediaType": self.config_type, "digest": store.put(b"{}"), "size": 2},
            "layers": layers, "annotations": self.annotations})
        return {"mediaType": OCI_MANIFEST, "digest": store.put(manifest), "size": len(manifest)}


class Index:
    """Images of several platforms under one name: an OCI index, or docker's manifest list."""

    def __init__(self, images, docker=False):
        self.images, self.docker = list(images), docker

    def put(self, store):
        media_type = DOCKER_LIST if self.docker else OCI_INDEX
        data = encode({
            "schemaVersion": 2, "mediaType": media_type,
            "manifests": [dict(image.put(store), platform=image.platform())
                          for image in self.images]})
        return {"mediaType": media_type, "digest": store.put(data), "size": len(data)}


def write_layout(folder, image, name=None, blobs=None):
    """Writes an OCI image layout of one image; `blobs` is a store to share blobs with."""
    store = blobs or BlobStore(folder)
    os.makedirs(folder, exist_ok=True)
    descriptor = dict(image.put(store))
    if name:
        descriptor["annotations"] = {"org.opencontainers.image.ref.name": name}
    if blobs and not os.path.lexists(os.path.join(folder, "blobs")):
        os.symlink(os.path.relpath(os.path.join(blobs.folder, "blobs"), folder),
                   os.path.join(folder, "blobs"))
    write_index(folder, [descriptor])
    return descriptor


def write_index(folder, descriptors):
    """Makes a folder of blobs an OCI image layout."""
    with open(os.path.join(folder, "oci-layout"), "w", encoding="utf-8") as out:
        out.write('{"imageLayoutVersion":"1.0.0"}')
    with open(os.path.join(folder, "index.json"), "wb") as out:
        out.write(encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}))
