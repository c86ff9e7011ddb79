# SPDX-License-Identifier: Apache-2.0
"""An S3 store and a WebDAV folder in memory that answer wrongly when told to.

It exists to inject faults, so it is strict about what it is sent: each S3 request must be one of the table
OPERATIONS (method, query, headers, body as https://docs.aws.amazon.com/AmazonS3/latest/API/ has them) with a good
Signature Version 4 (https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html), else the request
is noted in Server.violations and refused. Lists come in pages of PAGE, so that every client has to turn them.

A Fault says to which operation it happens, how often, and what: a function (connection, request, answer) that returns
another answer, or sends bytes of its own and ends the connection. `early` ones run before the body is read.

    /BUCKET/KEY    S3          /dav/KEY    WebDAV (PUT, MOVE, MKCOL, DELETE, ranged GET), Basic authentication

One thread for each connection; Server.lock guards what is stored.
"""
import base64
import email.utils
import hashlib
import hmac
import re
import select
import socket
import ssl
import struct
import threading
import time
import urllib.parse
import xml.etree.ElementTree as tree
from dataclasses import dataclass, field

BUCKET, REGION = "faults", "us-east-1"
USER, PASSWORD = "drover", "dav-password"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
PAGE = 2
PART_MIN = 5 << 20
SKEW_S = 15 * 60

# operation: method, of an object, query that must be there, query that may, headers that may (beside COMMON)
OPERATIONS = {
    "List": ("GET", False, {"list-type"}, {"prefix", "max-keys", "encoding-type", "continuation-token"}, set()),
    "ListUploads": ("GET", False, {"uploads"}, {"prefix", "key-marker", "upload-id-marker", "max-uploads"}, set()),
    "ListParts": ("GET", True, {"uploadId"}, {"part-number-marker", "max-parts"}, set()),
    "Head": ("HEAD", True, set(), set(), {"range", "if-match"}),
    "Get": ("GET", True, set(), set(), {"range", "if-match"}),
    "Create": ("POST", True, {"uploads"}, set(), {"content-type"}),
    "Part": ("PUT", True, {"partNumber", "uploadId"}, set(), {"content-md5"}),
    "CopyPart": ("PUT", True, {"partNumber", "uploadId"}, set(),
                 {"x-amz-copy-source", "x-amz-copy-source-range", "x-amz-copy-source-if-match"}),
    "Put": ("PUT", True, set(), set(), {"content-md5", "content-type", "if-none-match"}),
    "Complete": ("POST", True, {"uploadId"}, set(), {"content-type", "if-none-match", "if-match"}),
    "Abort": ("DELETE", True, {"uploadId"}, set(), set()),
    "Delete": ("DELETE", True, set(), set(), set()),
}
COMMON = {"host", "user-agent", "accept", "content-length", "expect", "authorization", "x-amz-date",
          "x-amz-content-sha256", "x-amz-security-token"}
META = {"Create", "Put"}  # where x-amz-meta-* may stand


class Gone(Exception):
    """The connection has ended, or shall."""


class Violation(Exception):
    """The request is not one that the documentation knows."""


@dataclass
class Request:
    method: str
    target: str
    headers: dict  # lower case names
    order: list  # the same as sent
    body: bytes = b""
    op: str = "?"
    key: str = ""
    path: str = ""
    query: dict = field(default_factory=dict)
    whole: bool = False  # a server that knows no ranges would answer

    @property
    def first(self):
        return int(self.headers.get("range", "bytes=0-")[6:].split("-")[0])

    @property
    def wanted(self):
        return int(self.headers["range"].split("-")[1]) - self.first + 1 if "range" in self.headers else 1 << 62

    @property
    def length(self):
        return int(self.headers.get("content-length", 0))

    @property
    def chunked(self):
        return "transfer-encoding" in self.headers


@dataclass
class Answer:
    status: int
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    # "length" in headers overrides what Content-Length says; None leaves it out

    def head(self):
        lines = ["HTTP/1.1 %d %s" % (self.status, "Said")]
        given = dict(self.headers)
        length = given.pop("length", len(self.body))
        if length is not None and self.status != 204:
            given["Content-Length"] = length
        lines += ["%s: %s" % item for item in given.items() if item[1] is not None]
        return "\r\n".join(lines + ["", ""]).encode()


@dataclass
class Fault:
    op: object  # a name, several, or "*"
    act: object
    skip: int = 0  # so many such requests are answered well before
    times: int = 1  # and so many badly; None = all that follow
    key: str = None
    least: int = 0  # a Get of at least so many bytes
    seen: int = 0
    fired: int = 0

    def hits(self, request):
        ops = [self.op] if isinstance(self.op, str) else self.op
        if "*" not in ops and request.op not in ops or self.key not in (None, request.key) or request.wanted < self.least:
            return False
        self.seen += 1
        if self.seen <= self.skip or self.times is not None and self.fired >= self.times:
            return False
        self.fired += 1
        return True


@dataclass
class Object:
    data: bytes
    etag: str
    headers: dict
    modified: float


@dataclass
class Upload:
    key: str
    headers: dict
    parts: dict = field(default_factory=dict)  # number: (etag, data)


def md5(data):
    return hashlib.md5(data).hexdigest()


def s3_error(status, code, message="as the test wants it", **headers):
    text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>"
    return Answer(status, {"Content-Type": "application/xml", **headers}, (text % (code, message)).encode())


def document(name, *items):
    """<name xmlns><item>text</item>...: items are (name, text) or (name, [items])."""
    def fill(node, children):
        for child, value in children:
            below = tree.SubElement(node, child)
            if isinstance(value, list):
                fill(below, value)
            else:
                below.text = str(value)
    root = tree.Element(name, xmlns=NAMESPACE[1:-1])
    fill(root, items)
    return Answer(200, {"Content-Type": "application/xml"}, tree.tostring(root, "utf-8", xml_declaration=True))


# ---- what a request must be -----------------------------------------------------------------


def classify(request):
    """Fills op and key by OPERATIONS."""
    path, _, query = request.target.partition("?")
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    request.path, request.query = path, dict(pairs)
    if path.startswith("/dav/") or request.method == "OPTIONS":
        request.op, request.key = "Dav" + request.method.title(), urllib.parse.unquote(path[5:])
        return
    bucket, _, key = path[1:].partition("/")
    request.key = urllib.parse.unquote(key)
    if bucket != BUCKET:
        raise Violation("bucket %r" % bucket)
    names = set(request.query)
    fits = [op for op, (method, of_object, must, may, _) in OPERATIONS.items()
            if method == request.method and of_object == bool(key) and must <= names <= must | may
            and (op == "CopyPart") == ("x-amz-copy-source" in request.headers)]
    if len(fits) != 1 or len(pairs) != len(names):
        raise Violation("%s with the query %r is no operation" % (request.method, query))
    request.op = fits[0]


def check_headers(request):
    allowed = COMMON | OPERATIONS[request.op][4]
    for name in request.headers:
        if name not in allowed and not (name.startswith("x-amz-meta-") and request.op in META):
            raise Violation("%s with the header %s" % (request.op, name))
    if len(request.order) != len(request.headers):
        raise Violation("a header twice")
    if request.method in ("PUT", "POST") and "content-length" not in request.headers:
        raise Violation("%s without Content-Length" % request.op)
    if "range" in request.headers and not re.fullmatch(r"bytes=\d+-\d+", request.headers["range"]):
        raise Violation("range %r" % request.headers["range"])
    if request.headers.get("if-none-match", "*") != "*":
        raise Violation("If-None-Match on a write is *")


def signature(request, secret, scope, names):
    day, region, service, last = scope
    pairs = urllib.parse.parse_qsl(request.target.partition("?")[2], keep_blank_values=True)
    quote = lambda text, safe="": urllib.parse.quote(text, safe=safe + "-_.~")
    query = "&".join(sorted("%s=%s" % (quote(a), quote(b)) for a, b in pairs))
    canonical = [request.method, quote(urllib.parse.unquote(request.path), "/"), query]
    canonical += ["%s:%s" % (name, " ".join(request.headers[name].split())) for name in names]
    canonical += ["", ";".join(names), request.headers["x-amz-content-sha256"]]
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], "/".join(scope),
                      hashlib.sha256("\n".join(canonical).encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for word in (day, region, service, last):
        key = hmac.digest(key, word.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def check_signature(server, request):
    """None, or the error that S3 would answer."""
    form = r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?SignedHeaders=([^,]+), ?Signature=(\w+)"
    match = re.fullmatch(form, request.headers.get("authorization", ""))
    if not match or "x-amz-date" not in request.headers or "x-amz-content-sha256" not in request.headers:
        raise Violation("no signature of version 4")
    key_id, day, region, names, given = match.groups()
    names = names.split(";")
    if names != sorted(names) or not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
        raise Violation("signed headers %s" % names)
    if any(name.startswith("x-amz-") and name not in names for name in request.headers):
        raise Violation("an x-amz- header is not signed")
    when = time.strptime(request.headers["x-amz-date"] + " +0000", "%Y%m%dT%H%M%SZ %z")
    if abs(time.time() - (time.mktime(when) - time.timezone)) > SKEW_S or not request.headers["x-amz-date"].startswith(day):
        raise Violation("date %s" % request.headers["x-amz-date"])
    if key_id not in server.keys:
        return s3_error(403, "InvalidAccessKeyId")
    secret, token = server.keys[key_id]
    if token != request.headers.get("x-amz-security-token"):
        return s3_error(403, "InvalidToken")
    if signature(request, secret, (day, region, "s3", "aws4_request"), names) != given:
        return s3_error(403, "SignatureDoesNotMatch")
    return s3_error(400, "ExpiredToken") if key_id in server.expired else None


def check_body(server, request):
    said = request.headers["x-amz-content-sha256"]
    if said == "UNSIGNED-PAYLOAD":
        if not server.tls:
            raise Violation("UNSIGNED-PAYLOAD without TLS")
    elif said != hashlib.sha256(request.body).hexdigest():
        return s3_error(400, "XAmzContentSHA256Mismatch")
    sum_ = request.headers.get("content-md5")
    if sum_ and base64.b64decode(sum_) != hashlib.md5(request.body).digest():
        return s3_error(400, "BadDigest")
    if said == "UNSIGNED-PAYLOAD" and request.op == "Part" and not sum_:
        raise Violation("a part whose bytes nothing checks")
    return None


# ---- what is stored -------------------------------------------------------------------------


class S3:
    """The operations; the caller holds the server's lock."""

    def __init__(self, server):
        self.server, self.objects, self.uploads, self.next_id = server, server.objects, server.uploads, 0

    def meta(self, request):
        return {name: value for name, value in request.headers.items() if name.startswith("x-amz-meta-")}

    def taken(self, request):
        return s3_error(412, "PreconditionFailed") if "if-none-match" in request.headers and request.key in self.objects else None

    def List(self, r):
        keys = sorted(key for key in self.objects if key.startswith(r.query.get("prefix", "")))
        start = int(r.query.get("continuation-token", "0"))
        page = keys[start:start + min(PAGE, int(r.query.get("max-keys", 1000)))]
        more = start + len(page) < len(keys)
        quote = urllib.parse.quote if r.query.get("encoding-type") == "url" else str
        items = [("Contents", [("Key", quote(key)), ("Size", len(self.objects[key].data))]) for key in page]
        tail = [("NextContinuationToken", start + len(page))] if more else []
        return document("ListBucketResult", ("EncodingType", r.query.get("encoding-type", "")),
                        ("IsTruncated", str(more).lower()), *tail, *items)

    def ListUploads(self, r):
        found = [(u.key, id_) for id_, u in self.uploads.items() if u.key.startswith(r.query.get("prefix", ""))]
        items = [("Upload", [("Key", key), ("UploadId", id_)]) for key, id_ in sorted(found)[:PAGE]]
        return document("ListMultipartUploadsResult", ("IsTruncated", str(len(found) > PAGE).lower()), *items)

    def ListParts(self, r):
        upload = self.uploads.get(r.query["uploadId"])
        if not upload or upload.key != r.key:
            return s3_error(404, "NoSuchUpload")
        after = int(r.query.get("part-number-marker", 0))
        numbers = [n for n in sorted(upload.parts) if n > after]
        page, more = numbers[:PAGE], len(numbers) > PAGE
        items = [("Part", [("PartNumber", n), ("ETag", '"%s"' % upload.parts[n][0]), ("Size", len(upload.parts[n][1]))])
                 for n in page]
        tail = [("NextPartNumberMarker", page[-1])] if more else []
        return document("ListPartsResult", ("IsTruncated", str(more).lower()), *tail, *items)

    def Head(self, r):
        answer = self.Get(r)
        answer.headers["length"], answer.body = len(answer.body), b""
        return answer

    def Get(self, r):
        o = self.objects.get(r.key)
        if not o:
            return s3_error(404, "NoSuchKey")
        if r.headers.get("if-match", '"%s"' % o.etag) != '"%s"' % o.etag:
            return s3_error(412, "PreconditionFailed")
        return ranged(r, o, {"ETag": '"%s"' % o.etag, **o.headers})

    def store(self, key, data, etag, headers):
        self.objects[key] = Object(data, etag, headers, time.time())

    def Put(self, r):
        self.store(r.key, r.body, md5(r.body), self.meta(r))
        return Answer(200, {"ETag": '"%s"' % md5(r.body)})

    def Create(self, r):
        self.next_id += 1
        id_ = "upload-%d/+=&" % self.next_id
        self.uploads[id_] = Upload(r.key, self.meta(r))
        return document("InitiateMultipartUploadResult", ("Bucket", BUCKET), ("Key", r.key), ("UploadId", id_))

    def Part(self, r):
        upload, number = self.uploads.get(r.query["uploadId"]), int(r.query["partNumber"])
        if not upload or upload.key != r.key:
            return s3_error(404, "NoSuchUpload")
        if not 1 <= number <= 10000:
            raise Violation("part number %d" % number)
        upload.parts[number] = (md5(r.body), r.body)
        return Answer(200, {"ETag": '"%s"' % md5(r.body)})

    def CopyPart(self, r):
        upload, number = self.uploads.get(r.query["uploadId"]), int(r.query["partNumber"])
        if not upload or upload.key != r.key:
            return s3_error(404, "NoSuchUpload")
        bucket, _, key = urllib.parse.unquote(r.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        range_ = re.fullmatch(r"bytes=(\d+)-(\d+)", r.headers["x-amz-copy-source-range"])
        if bucket != BUCKET or not range_ or not 1 <= number <= 10000 or r.body:
            raise Violation("a part copied from %r, %r" % (key, r.headers["x-amz-copy-source-range"]))
        o = self.objects.get(key)
        if not o:
            return s3_error(404, "NoSuchKey")
        if r.headers.get("x-amz-copy-source-if-match", '"%s"' % o.etag) != '"%s"' % o.etag:
            return s3_error(412, "PreconditionFailed")
        first, last = int(range_[1]), int(range_[2])
        if not first <= last < len(o.data) or len(o.data) <= PART_MIN:
            return s3_error(400, "InvalidRequest")
        data = o.data[first:last + 1]
        upload.parts[number] = (md5(data), data)
        return document("CopyPartResult", ("LastModified", "2026-01-01T00:00:00.000Z"), ("ETag", '"%s"' % md5(data)))

    def Complete(self, r):
        upload = self.uploads.get(r.query["uploadId"])
        if not upload or upload.key != r.key:
            return s3_error(404, "NoSuchUpload")
        now = self.objects.get(r.key)
        if "if-match" in r.headers and (not now or r.headers["if-match"] != '"%s"' % now.etag):
            return s3_error(412, "PreconditionFailed")
        root = tree.fromstring(r.body)
        said = [(int(p.findtext(NAMESPACE + "PartNumber")), p.findtext(NAMESPACE + "ETag").strip('"')) for p in root]
        if root.tag != NAMESPACE + "CompleteMultipartUpload" or not said or said != sorted(said):
            raise Violation("body of CompleteMultipartUpload")
        if any(upload.parts.get(n, ("",))[0] != etag for n, etag in said):
            return s3_error(400, "InvalidPart")
        parts = [upload.parts[n][1] for n, _ in said]
        if any(len(part) < PART_MIN for part in parts[:-1]):
            return s3_error(400, "EntityTooSmall")
        etag = "%s-%d" % (md5(b"".join(bytes.fromhex(etag) for _, etag in said)), len(said))
        del self.uploads[r.query["uploadId"]]
        self.store(r.key, b"".join(parts), etag, upload.headers)
        return document("CompleteMultipartUploadResult", ("Bucket", BUCKET), ("Key", r.key), ("ETag", '"%s"' % etag))

    def Abort(self, r):
        gone = self.uploads.pop(r.query["uploadId"], None)
        return Answer(204) if gone else s3_error(404, "NoSuchUpload")

    def Delete(self, r):
        self.objects.pop(r.key, None)
        return Answer(204)


def ranged(r, o, headers):
    headers = {"Last-Modified": email.utils.formatdate(o.modified, usegmt=True), "Accept-Ranges": "bytes", **headers}
    if "range" not in r.headers or r.whole:
        return Answer(200, headers, o.data)
    first, last = map(int, r.headers["range"][6:].split("-"))
    if first >= len(o.data):
        return s3_error(416, "InvalidRange")
    last = min(last, len(o.data) - 1)
    headers["Content-Range"] = "bytes %d-%d/%d" % (first, last, len(o.data))
    return Answer(206, headers, o.data[first:last + 1])


class Dav:
    """The folder; its objects lie beside those of S3 under "dav/KEY"."""

    def __init__(self, server):
        self.server, self.objects = server, server.objects

    def find(self, r):
        return self.objects.get("dav/" + r.key)

    def DavOptions(self, r):
        return Answer(200, {"DAV": "1, 2", "Allow": "GET, HEAD, PUT, DELETE, MOVE, MKCOL, OPTIONS"})

    def DavGet(self, r):
        o = self.find(r)
        return ranged(r, o, {"ETag": '"%s"' % o.etag}) if o else Answer(404)

    def DavHead(self, r):
        answer = self.DavGet(r)
        answer.headers["length"], answer.body = len(answer.body), b""
        return answer

    def DavPut(self, r):
        there = self.find(r) is not None
        self.objects["dav/" + r.key] = Object(r.body, md5(r.body)[:16], {}, time.time())
        return Answer(204 if there else 201)

    def DavMove(self, r):
        path = urllib.parse.urlsplit(r.headers["destination"]).path
        to = urllib.parse.unquote(path[1:])
        if not self.find(r):
            return Answer(404)
        if to in self.objects and r.headers.get("overwrite") == "F":
            return Answer(412)
        self.objects[to] = self.objects.pop("dav/" + r.key)
        return Answer(201)

    def DavMkcol(self, r):
        return Answer(201)

    def DavDelete(self, r):
        return Answer(204 if self.objects.pop("dav/" + r.key, None) else 404)


# ---- connections ----------------------------------------------------------------------------


class Connection:
    def __init__(self, server, sock):
        self.server, self.sock, self.buffer, self.keep = server, sock, b"", True

    def fill(self):
        data = self.sock.recv(1 << 18)
        if not data:
            raise Gone
        self.buffer += data

    def take(self, count):
        while len(self.buffer) < count:
            self.fill()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def body(self, request):
        if not request.chunked:
            return self.take(request.length)
        chunks = []
        while length := int(self.line(), 16):
            chunks.append(self.take(length))
            self.line()
        self.line()
        return b"".join(chunks)

    def request(self):
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        order = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]
        return Request(method, target, {name.lower(): value for name, value in order}, order)

    def send(self, data):
        self.sock.sendall(data)

    def answer(self, request, answer):
        self.send(answer.head() + (b"" if request.method == "HEAD" else answer.body))

    def reset(self):
        """RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone

    def wait_gone(self):
        """Reads nothing, says nothing, until the client hangs up."""
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLRDHUP)
        while not self.server.stopped and not poll.poll(50):
            pass
        raise Gone

    def serve(self):
        while self.keep:
            request = self.request()
            self.server.serve(self, request)


class Server:
    """stop() it. url is what to connect to; tls: (certificate, key) files, or None."""

    def __init__(self, tls=None, greeting=None):
        self.tls, self.greeting = tls, greeting
        self.objects, self.uploads, self.faults = {}, {}, []
        self.keys, self.expired = {"AKFAULTS": ("secret-of-faults", None)}, set()
        self.password = PASSWORD
        self.log, self.violations, self.flipped = [], [], None  # flipped: offset in the object
        self.lock, self.fired, self.stopped = threading.RLock(), threading.Event(), False
        self.s3, self.dav, self.connections = S3(self), Dav(self), []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = "%s://127.0.0.1:%d" % ("https" if tls else "http", self.listener.getsockname()[1])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(sock)
            threading.Thread(target=self.connection, args=(sock,), daemon=True).start()

    def connection(self, sock):
        try:
            if self.greeting:
                self.fired.set()
                self.greeting(Connection(self, sock))
            if self.tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.tls)
                sock = context.wrap_socket(sock, server_side=True)
            Connection(self, sock).serve()
        except (Gone, OSError, ValueError):
            pass
        finally:
            sock.close()

    def stop(self):
        self.stopped = True
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def serve(self, c, request):
        try:
            classify(request)
            if not request.op.startswith("Dav"):
                check_headers(request)
        except Violation as v:
            self.violations.append(str(v))
            c.keep = False
            return c.answer(request, s3_error(400, "InvalidRequest", str(v)))
        with self.lock:
            self.log.append((request.op, request.key))
            fault = next((f for f in self.faults if f.hits(request)), None)
        if fault:
            self.fired.set()
        if fault and getattr(fault.act, "early", False):
            fault.act(c, request, None)
        if "expect" in request.headers and not (fault and getattr(fault.act, "silent", False)):
            c.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.body = c.body(request)
        if fault and hasattr(fault.act, "spoil"):
            request.body = fault.act.spoil(request.body)
        answer = lambda: self.perform(request)
        c.answer(request, fault.act(c, request, answer) if fault else answer())

    def perform(self, request):
        with self.lock:
            try:
                if request.op.startswith("Dav"):
                    given = base64.b64decode(request.headers.get("authorization", "Basic ")[6:]).decode()
                    if given != "%s:%s" % (USER, self.password):
                        return Answer(401)
                    return getattr(self.dav, request.op)(request)
                refused = check_signature(self, request) or check_body(self, request) or self.s3.taken(request)
                return refused or getattr(self.s3, request.op)(request)
            except Violation as v:
                self.violations.append("%s: %s" % (request.op, v))
                return s3_error(400, "InvalidRequest", str(v))
