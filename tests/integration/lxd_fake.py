#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# tests/integration/lxd_fake.py DIR: daemons that answer nonsense, one socket DIR/ROW each, until standard input ends.
# Prints a line for each: ROW VERB KIND TEXT: what `clone_conformance` must say of it.
import json, os, socket, sys, threading

FP = "a" * 64
MINE = "install/ns/somebody-else/99999999-0000-4000-8000-000000000009/0badcafe"


def sync(metadata):
    return 200, json.dumps({"type": "sync", "status_code": 200, "metadata": metadata})


def error(code, text):
    return code, json.dumps({"type": "error", "error_code": code, "error": text, "metadata": None})


def operation(**more):
    return {"id": "op1", "description": "Creating instance", "status_code": 200, "err": "", "metadata": None, **more}


SERVER = {"auth": "trusted", "environment": {"server": "lxd", "server_version": "5.0.2", "server_name": "fake", "driver": "lxc"}}
POOL = {"name": "bt", "driver": "btrfs", "status": "Created", "config": {}}
IMAGE = {"fingerprint": FP, "size": 1000, "type": "container", "aliases": [{"name": "base"}], "properties": {}}
BEGUN = (202, json.dumps({"type": "async", "operation": "/1.0/operations/op1", "metadata": operation(status_code=103)}))
SANE = {
    "GET /1.0": sync(SERVER),
    "GET /1.0/storage-pools?recursion=1": sync([POOL]),
    "GET /1.0/storage-pools/bt": sync(POOL),
    "GET /1.0/storage-pools/bt/resources": sync({"space": {"used": 1, "total": 1 << 30}}),
    "GET /1.0/networks?recursion=1": sync([]),
    "GET /1.0/instances": sync([]),
    "GET /1.0/images/aliases/base": sync({"target": FP}),
    "GET /1.0/images/" + FP: sync(IMAGE),
    "GET /1.0/profiles/default": sync({"config": {}, "devices": {"root": {"type": "disk", "path": "/", "pool": "bt"}}}),
    "GET /1.0/operations?recursion=1": sync({}),
    "GET /1.0/operations/op1": sync(operation()),
    "GET /1.0/operations/op1/wait": sync(operation()),
    "POST /1.0/instances": BEGUN,
}
INSTANCE = "GET /1.0/instances/fk"


def failing(text, code=400):
    o = sync(operation(status_code=code, err=text))
    return {"GET /1.0/operations/op1": o, "GET /1.0/operations/op1/wait": o}


INCUS = {"GET /1.0": sync({**SERVER, "environment": {**SERVER["environment"], "server": "incus"}})}


def failing_incus(text):
    """Who waits is only told why, with status 200; the operation is still there."""
    return {**INCUS, **failing(text), "GET /1.0/operations/op1/wait": (200, error(400, text)[1])}


# row: (verb, kind, text that is said, answers that are not sane)
ROWS = {
    "empty": ("refuse", "ProtocolError", "not one of LXD's", {"GET /1.0": (200, "")}),
    "html": ("refuse", "ProtocolError", "not one of LXD's", {"GET /1.0": (200, "<html>hello</html>")}),
    "list": ("refuse", "ProtocolError", "not one of LXD's", {"GET /1.0": (200, "[1, 2]")}),
    "other-api": ("refuse", "ProtocolError", "not one of LXD's", {"GET /1.0": (200, '{"kind": "Status"}')}),
    "type-number": ("refuse", "ProtocolError", "not one of LXD's", {"GET /1.0": (200, '{"type": 7, "metadata": {}}')}),
    "cut-json": ("refuse", "ProtocolError", "not one of LXD's", {"GET /1.0": (200, '{"type": "sync", "metadata": {"a')}),
    "untrusted": ("refuse", "AuthenticationFailed", "does not trust", {"GET /1.0": sync({"auth": "untrusted"})}),
    "forbidden": ("refuse", "AuthenticationFailed", "not authorized", {"GET /1.0/networks?recursion=1": error(403, "not authorized")}),
    "broken": ("refuse", "ProtocolError", "database is locked", {"GET /1.0": error(500, "database is locked")}),
    "throttled": ("refuse", "Throttled", "later", {"GET /1.0": error(503, "later")}),
    "no-version": ("refuse", "ProtocolError", "tells no version", {"GET /1.0": sync({"auth": "trusted"})}),
    "pools-text": ("refuse", "ProtocolError", "is no list", {"GET /1.0/storage-pools?recursion=1": sync("none")}),
    "pool-nameless": ("refuse", "ProtocolError", "makes no sense", {"GET /1.0/storage-pools?recursion=1": sync([{"driver": "dir"}])}),
    "pool-null": ("refuse", "ProtocolError", "makes no sense", {"GET /1.0/storage-pools?recursion=1": sync([None])}),
    "odd-path": ("refuse", "ProtocolError", "no path of an instance", {"GET /1.0/instances": sync(["/1.0/instances/../x"])}),
    "surprise": ("refuse", "ProtocolError", "not expected", {"GET /1.0": BEGUN}),
    "silent": ("refuse", "TimedOut", "within", {"GET /1.0": "hang"}),
    "hangs-up": ("refuse", "Unreachable", "without an answer", {"GET /1.0": "close"}),
    "half": ("refuse", "Unreachable", "in the middle", {"GET /1.0": "half"}),
    "huge": ("refuse", "LimitExceeded", "longer than", {"GET /1.0": "huge"}),
    "no-image": ("make", "NotFound", "no image", {"GET /1.0/images/" + FP: error(404, "Image not found")}),
    "odd-image": ("make", "ProtocolError", "makes no sense", {"GET /1.0/images/" + FP: sync({"fingerprint": "../../x"})}),
    "rootless": ("make", "InvalidSpec", "no root disk", {"GET /1.0/profiles/default": sync({"devices": {}})}),
    "pool-gone": ("make", "NotFound", "no storage pool", {"GET /1.0/storage-pools/bt": error(404, "Storage pool not found")}),
    "cannot-link": ("make", "Unsupported", "cannot link clones", {"GET /1.0/storage-pools/bt": sync({**POOL, "driver": "dir"})}),
    "new-driver": ("make", "Unsupported", "cannot link clones", {"GET /1.0/storage-pools/bt": sync({**POOL, "driver": "powerflex"})}),
    "thick-lvm": ("make", "Unsupported", "cannot link clones", {"GET /1.0/storage-pools/bt": sync({**POOL, "driver": "lvm", "config": {"lvm.use_thinpool": "false"}})}),
    "zfs-full": ("make", "Unsupported", "cannot link clones", {"GET /1.0/storage-pools/bt": sync({**POOL, "driver": "zfs", "config": {"zfs.clone_copy": "false"}})}),
    "op-nameless": ("make", "ProtocolError", "has no name", {"POST /1.0/instances": (202, '{"type": "async", "operation": ""}')}),
    "op-full": ("make", "InsufficientSpace", "no space left", failing("write: no space left on device")),
    "op-failed": ("make", "ProtocolError", "something else", failing("something else")),
    "op-cancelled": ("make", "ProtocolError", "it failed", failing("", 401)),
    "op-no-status": ("make", "ProtocolError", "no status", failing("", 0)),
    "incus-full": ("make", "InsufficientSpace", "no space left", failing_incus("write: no space left on device")),
    "incus-failed": ("make", "ProtocolError", "Creating instance: something else", failing_incus("something else")),
    "error-200": ("make", "ProtocolError", "something else", {"POST /1.0/instances": (200, error(400, "something else")[1])}),
    "taken": ("make", "AlreadyExists", "did not make", {INSTANCE: sync({"name": "fk", "status": "Stopped", "config": {}})}),
    "theirs": ("make", "AlreadyExists", "another object", {INSTANCE: sync({"name": "fk", "status": "Stopped", "config": {"user.drover.owner": MINE}})}),
    "other-name": ("make", "ProtocolError", "makes no sense", {INSTANCE: sync({"name": "gk", "status": "Stopped", "config": {}})}),
    "instance-list": ("make", "ProtocolError", "makes no sense", {INSTANCE: sync([])}),
    "refused": ("make", "InvalidSpec", "Invalid devices", {"POST /1.0/instances": error(400, "Invalid devices: x")}),
}


def answer(connection, row):
    with connection, connection.makefile("rb") as lines:
        while True:
            words = lines.readline().decode().split()
            if len(words) < 2:
                return
            length = 0
            while (header := lines.readline().decode().strip()):
                if header.lower().startswith("content-length:"):
                    length = int(header.split(":")[1])
            lines.read(length)
            key = f"{words[0]} {words[1].split('?timeout')[0]}"
            what = ROWS[row][3].get(key) or SANE.get(key) or error(404, "not found")
            if what == "hang":
                threading.Event().wait(30)
                return
            if what == "close":
                return
            if what == "half":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                return
            if what == "huge":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b" " * 100000000)
                return
            body = what[1].encode()
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (what[0], len(body)) + body)


def serve(listener, row):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=quiet, args=(connection, row), daemon=True).start()


def quiet(connection, row):
    try:
        answer(connection, row)
    except OSError:
        pass


for row, (verb, kind, text, _) in ROWS.items():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(sys.argv[1], row))
    listener.listen(8)
    threading.Thread(target=serve, args=(listener, row), daemon=True).start()
    print(row, verb, kind, text)
print("ready", flush=True)
sys.stdin.read()
