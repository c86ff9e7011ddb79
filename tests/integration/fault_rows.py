# SPDX-License-Identifier: Apache-2.0
"""The table of faults: what the server does, and what must come of it. See `faults`."""
import functools
import threading
import time
from dataclasses import dataclass, field

from fault_acts import *
from fault_server import BUCKET, Fault, Object, document, md5, s3_error

TLS = "tls"  # the server speaks TLS; "liar": drover is told it does
MIB = 1 << 20


@dataclass
class Row:
    name: str
    verb: str  # one of Run.argv()
    faults: object  # a list; with `other` a function of the other server's URL
    kind: str = ""  # of the error; "" = it succeeds, with identical content
    text: str = ""  # a part of the message
    part: str = "s3"
    status: int = None  # exit status, where it is not 0 or 3
    tls: str = None
    greeting: object = None
    other: bool = False  # there is a second server, which must not be asked
    prepare: object = None  # function of the Run, before it starts
    left: bool = False  # nobody could clean up
    cancel: bool = False  # SIGTERM when the fault has happened
    least_s: float = 0
    most_s: float = 60
    requests: int = None  # at most
    sends_all: bool = False  # repair: not only the one part


def F(*args, **kwargs):
    return functools.partial(Fault, *args, **kwargs)


def new_keys(run):
    """Credentials that expire, and new ones in the file while drover runs."""
    run.server.keys = {"AKOLD": ("old-secret-of-faults", "old-token"), "AKNEW": ("new-secret-of-faults", "new-token")}
    run.write_keys("AKOLD", "old-secret-of-faults", "old-token")

    def expire(server, request):
        run.write_keys("AKNEW", "new-secret-of-faults", "new-token")
        server.expired.add("AKOLD")
    EXPIRE[run.server] = expire


def new_password(run):
    def renew(server, request):
        run.write_password("another-password")
        server.password = "another-password"
    EXPIRE[run.server] = renew


EXPIRE = {}


def expire(c, request, answer):
    EXPIRE.pop(c.server)(c.server, request)
    return answer()


def old_keys(run):
    run.server.keys = {"AKOLD": ("old-secret-of-faults", "old-token")}
    run.write_keys("AKOLD", "old-secret-of-faults", "old-token")


def gone_key(server, request):
    server.objects.pop("d.raw", None)


def abort_all(server, request):
    server.uploads.clear()


def replaced(server, request):
    o = server.objects["d.raw"]
    data = bytes(len(o.data))
    server.objects["d.raw"] = Object(data, md5(data), {}, time.time())


def dav_replaced(server, request):
    data = bytes(len(server.objects["dav/d.raw"].data))
    server.objects["dav/d.raw"] = Object(data, "another", {}, time.time())


def many_objects(run):
    for i in range(5):
        run.server.objects["many/%d" % i] = Object(b"x", md5(b"x"), {}, time.time())


def somebodys(server, request):
    """Somebody else was faster, with as many bytes."""
    server.objects["x.raw"] = Object(bytes(20 * MIB), "e" * 32, {}, time.time())


SLOW_DOWN = say(503, "SlowDown", "Please reduce your request rate.")
INTERNAL = b"<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code><Message>We encountered one</Message></Error>"
LAUGHS = b"<!DOCTYPE r [<!ENTITY a \"ha\">" + b"".join(
    b"<!ENTITY %c \"%s\">" % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12)) + b"]><r>&m;</r>"
SAME_PAGE = document("ListBucketResult", ("IsTruncated", "true"), ("NextContinuationToken", "again")).body
SAME_PARTS = document("ListPartsResult", ("IsTruncated", "true"), ("NextPartNumberMarker", "1")).body
STUCK = document("ListMultipartUploadsResult", ("Upload", [("Key", "x.raw"), ("UploadId", "stuck")])).body
OBJECTS = ("Get", "Head", "Put", "Part", "Create", "Complete")
IMAGE = {"key": "d.raw", "least": 100001}  # the image itself, not its first look or its manifest

READING = [
    Row("nothing wrong", "down", []),
    Row("nothing wrong, the harness", "suite", []),
    Row("answer reset at byte 0", "down", [F("Get", break_answer(0), skip=1, **IMAGE)]),
    Row("answer reset at byte 1", "down", [F("Get", break_answer(1), skip=1, **IMAGE)]),
    Row("answer reset at byte 1000000, thrice", "down", [F("Get", break_answer(1000000), times=3, **IMAGE)]),
    Row("answer cut short", "down", [F("Get", break_answer(700001, reset=False), times=2, **IMAGE)]),
    Row("every answer cut short", "down", [F("Get", break_answer(700001, reset=False), times=None, **IMAGE)],
        "Unreachable", "closed the connection in the middle"),
    Row("Content-Length too large", "down", [F("Get", wrong_length(5), times=2, **IMAGE)]),
    Row("Content-Length too small", "down", [F("Get", wrong_length(-5), times=2, **IMAGE)]),
    Row("slow, then fast", "down", [F("Get", trickle(100, 0.02, 100), **IMAGE)], least_s=2),
    Row("Content-Range of another part", "down", [F("Get", change(Content_Range="bytes 5-1004/20971520"), times=2, **IMAGE)]),
    Row("always another part", "down", [F("Get", change(Content_Range="bytes 5-1004/20971520"), times=None, **IMAGE)],
        "ProtocolError", "another part than was asked for"),
    Row("Content-Range missing", "down", [F("Get", change(Content_Range=None), times=None, **IMAGE)],
        "ProtocolError", "without saying which"),
    Row("Content-Range garbage", "down", [F("Get", change(Content_Range="bytes x-y/z"), times=None, **IMAGE)],
        "ProtocolError", "without saying which"),
    Row("200 with the whole body", "down", [F("Get", whole_with_200, times=None, **IMAGE)],
        "Unsupported", "ignores byte ranges"),
    Row("200 with the whole body, and reset", "down", [F("Get", whole_then_reset, skip=1, **IMAGE)],
        "Unsupported", "ignores byte ranges"),
    Row("a part of another object, and reset", "down", [F("Get", other_part_then_reset, skip=1, **IMAGE)],
        "SourceChanged", "not the same any more"),
    Row("the object is replaced", "down", [F("Get", then(lambda c, r, answer: answer(), replaced), skip=1, **IMAGE)],
        "SourceChanged", "not the same any more"),
    Row("the object is replaced, If-Match unknown", "down",
        [F("Get", change(ETag='"00000000000000000000000000000000"'), skip=1, times=None, **IMAGE)],
        "SourceChanged", "not the same any more"),
    Row("the object goes", "down", [F("Get", then(lambda c, r, answer: answer(), gone_key), skip=1, **IMAGE)],
        "NotFound", "there is no such object"),
    Row("403", "down", [F("Get", say(403, "AccessDenied"), skip=1, times=None, **IMAGE)],
        "PermissionDenied", "policy does not allow it"),
    Row("500, thrice", "down", [F("Get", say(500, "InternalError"), times=3, **IMAGE)]),
    Row("503 SlowDown, thrice", "down", [F("Get", SLOW_DOWN, times=3, **IMAGE)]),
    Row("503 without a body", "down", [F(("Get", "Head"), say(503), times=2, key="d.raw")]),
    Row("503 with Retry-After", "down", [F("Get", say(503, "SlowDown", Retry_After="3"), **IMAGE)], least_s=3),
    Row("503 with a long Retry-After", "down", [F("Get", say(503, "SlowDown", Retry_After="3600"), times=None, **IMAGE)],
        "Throttled", "SlowDown", most_s=10),
    Row("503 without end", "down", [F("Get", SLOW_DOWN, times=None, **IMAGE)], "Throttled", "reduce your request rate"),
    Row("429", "down", [F(("Get", "Head"), say(429, "TooManyRequests"), times=2, key="d.raw")]),
    Row("clock too far off", "down", [F("*", say(403, "RequestTimeTooSkewed"), times=None)],
        "AuthenticationFailed", "set the time", requests=3),
    Row("token expired", "down", [F(OBJECTS, say(400, "ExpiredToken"), times=None)],
        "AuthenticationFailed", "session token has expired", prepare=old_keys),
    Row("token expires, a new one is in the file", "down", [F("Get", expire, skip=1, **IMAGE)], prepare=new_keys),
    Row("token expires, a new one is in the document", "document-down", [F("Get", expire, skip=1, **IMAGE)],
        prepare=new_keys),
    Row("redirect to another origin", "down", lambda url: [F("Get", redirect(url), skip=1, times=None, **IMAGE)],
        "InvalidSpec", "sends us to another address", other=True),
    Row("redirect within the origin", "down", [F("Get", redirect(""), times=None, **IMAGE)],
        "InvalidSpec", "sends us to another address"),
    Row("the bucket is in another region", "down",
        [F("*", say(301, "PermanentRedirect", x_amz_bucket_region="eu-west-9"), times=None)], "InvalidSpec", "eu-west-9"),
    Row("HEAD without Content-Length", "down", [F("Head", length_of(None), times=None, key="d.raw")],
        "ProtocolError", "tells no size"),
    Row("HEAD with a Content-Length that is none", "down", [F("Head", length_of("20MB"), times=None, key="d.raw")],
        "ProtocolError", ""),
    Row("HEAD without ETag", "down", [F("Head", change(ETag=None), times=None, key="d.raw")], "ProtocolError", "no ETag"),
    Row("a bit flipped on its way, copy", "down", [F("Get", flip(12345), skip=1, **IMAGE)], "VerificationFailed",
        "the first difference is between offset"),
    Row("a bit flipped on its way, verify", "verify", [F("Get", flip(12345), skip=1, **IMAGE)], "differ",
        '"equal":false', status=1),
    Row("gzip, and truncated", "down", [F("Get", gzipped, times=2, **IMAGE)]),
    Row("endless headers", "down",
        [F("Get", endless(b"HTTP/1.1 206 Said\r\n", b"X-More: and more\r\n" * 100), times=None, **IMAGE)], "LimitExceeded",
        "headers"),
    Row("an endless error", "down", [F("Get", endless(b"HTTP/1.1 404 No\r\n\r\n", b"no " * 10000), times=None, **IMAGE)],
        "NotFound", "", most_s=20),
    Row("not HTTP", "down", [], "ProtocolError", "does not speak HTTP", greeting=garbage),
    Row("each connection closed, and said", "down", [F("*", close_after(True), times=None)]),
    Row("each connection closed, unsaid", "down", [F("*", close_after(False), times=None)]),
    Row("resets until the end", "down", [], "Unreachable", "", greeting=reset_at_once),
]

WRITING = [
    Row("nothing wrong", "up", []),
    Row("nothing wrong, TLS", "up", [], tls=TLS),
    Row("request reset at byte 0", "up", [F("Part", reset_request(0))]),
    Row("request reset at byte 3000000, thrice", "up", [F("Part", reset_request(3000000), times=3)]),
    Row("each request reset", "up", [F("Part", reset_request(3000000), times=None)], "Unreachable", "connection broke"),
    Row("lost answer to the beginning", "up", [F("Create", lose_answer)], left=True),
    Row("lost answer to a part", "up", [F("Part", lose_answer, times=2)]),
    Row("lost answer to the end", "up", [F("Complete", lose_answer)]),
    Row("lost answer to a small object", "up", [F("Put", lose_answer, times=2)]),
    Row("500 to a part, thrice", "up", [F("Part", say(500, "InternalError"), times=3)]),
    Row("500 to the end, thrice", "up", [F("Complete", say(500, "InternalError"), times=3)]),
    Row("500 to the end, always", "up", [F("Complete", say(500, "InternalError"), times=None)], "ProtocolError",
        "InternalError"),
    Row("500 to the end, but done", "up", [F("Complete", then(say(500, "InternalError"), lambda server, r: server.perform(r)))]),
    Row("an error inside a 200 to the end", "up", [F("Complete", body(INTERNAL), times=2)]),
    Row("an error inside a 200, always", "up", [F("Complete", body(INTERNAL), times=None)], "ProtocolError", "InternalError"),
    Row("blanks before the end's answer", "up", [F("Complete", before_body(b" \n" * 50))]),
    Row("an empty answer to the end", "up", [F("Complete", done_but_says(b""))]),
    Row("wrong ETag of a part, TLS", "up", [F("Part", change(ETag='"0123456789abcdef0123456789abcdef"'), times=2)], tls=TLS),
    Row("wrong ETag of a part, always, TLS", "up",
        [F("Part", change(ETag='"0123456789abcdef0123456789abcdef"'), times=None)], "ProtocolError", "other bytes", tls=TLS),
    Row("wrong ETag of a part", "up", [F("Part", change(ETag='"0123456789abcdef0123456789abcdef"'))], "ProtocolError",
        "lost a part"),
    Row("no ETag of a part", "up", [F("Part", change(ETag=None), times=2)]),
    Row("a bit of a part flipped on its way", "up", [F("Part", flip_request(54321), times=2)]),
    Row("a bit of a part flipped on its way, TLS", "up", [F("Part", flip_request(54321), times=2)], tls=TLS),
    Row("the upload goes", "up", [F("Part", then(lambda c, r, answer: answer(), abort_all), skip=1)], "NotFound",
        "no such upload"),
    Row("somebody was faster", "up", [F("Complete", then(lambda c, r, answer: answer(), somebodys))], "AlreadyExists",
        "exists already", left=True),
    Row("If-None-Match not known", "up", [F("Complete", say(501, "NotImplemented"))]),
    Row("no space", "up", [F("Part", say(507, "XMinioStorageFull"), skip=1, times=None)], "InsufficientSpace", "full"),
    Row("403", "up", [F("Part", say(403, "AccessDenied"), times=None)], "PermissionDenied", "policy"),
    Row("503 SlowDown, thrice", "up", [F(("Part", "Create", "Complete"), SLOW_DOWN, times=3)]),
    Row("100-continue that never comes", "up", [F(("Part", "Put"), no_continue, times=None)]),
    Row("token expires, a new one is in the file", "up", [F("Part", expire, skip=1)], prepare=new_keys),
    Row("token expires at the end", "up", [F("Complete", expire)], prepare=new_keys),
    Row("redirect of a write", "up", lambda url: [F("Part", redirect(url), times=None)], "InvalidSpec",
        "sends us to another address", other=True),
    Row("garbage instead of XML", "up", [F("Create", body(b"<a><b>"), times=None)], "ProtocolError",
        "beginning to write 'x.raw': the server's answer is not the XML"),
    Row("another document than was asked for", "up", [F("Create", body(SAME_PAGE), times=None)], "ProtocolError", "upload id"),
    Row("XML with entities", "up", [F("Create", body(LAUGHS), times=None)], "ProtocolError",
        "beginning to write 'x.raw': the server's answer is not the XML"),
    Row("endless XML", "up", [F("Create", endless(b"HTTP/1.1 200 OK\r\n\r\n<r>", b"<a>" * 10000), times=None)],
        "LimitExceeded", "longer than"),
    Row("uploads that cannot be got rid of", "up", [F("ListUploads", body(STUCK), times=None)], "ProtocolError",
        "still lists", requests=30),
    Row("an abort that fails", "up", [F("Part", say(403, "AccessDenied"), times=None), F("Abort", say(403, "AccessDenied"))],
        "PermissionDenied", "", left=True),
    Row("each connection closed, unsaid", "up", [F("*", close_after(False), times=None)]),
    Row("replacing fails in the middle", "replace", [F("Part", say(403, "AccessDenied"), skip=1, times=None)],
        "PermissionDenied", ""),
    Row("a list that never ends", "list", [F("List", body(SAME_PAGE), times=None)], "ProtocolError", "does not end",
        requests=10),
    Row("a list in pages", "list", [], "LimitExceeded", "more than 4", prepare=many_objects),
    Row("a list of parts that never ends", "suite", [F("ListParts", body(SAME_PARTS), times=None)], "ProtocolError",
        "does not end", left=True),
    Row("TLS: garbage", "up", [], "CertificateNotTrusted", "does the server speak HTTPS", tls="liar", greeting=garbage),
    Row("TLS: reset in the handshake", "up", [], "Unreachable", "", tls="liar", greeting=reset_at_once),
    Row("TLS: silence", "up", [], "Unreachable", "", tls="liar", greeting=hang, least_s=10, most_s=120),
    Row("no answer to a part", "up", [F("Part", never_answer)], least_s=60, most_s=150),
    Row("an answer that stops", "down", [F("Get", hang_in_body, **IMAGE)], least_s=60, most_s=150),
]

def other_object(server, request):
    data = bytes(20 * MIB)
    server.objects["x.raw"] = Object(data, md5(data), {}, time.time())


DENIED = b"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>not this one</Message></Error>"
NOT_THERE = body(b"<?xml version=\"1.0\"?>\n<CopyPartResult><LastModified>2026-01-01</LastModified></CopyPartResult>")

REPAIRING = [
    Row("repair: nothing wrong", "repair", []),
    Row("repair: nothing wrong, TLS", "repair", [], tls=TLS),
    Row("repair: an error inside a 200 to a kept part", "repair", [F("CopyPart", body(INTERNAL), times=2)]),
    Row("repair: an error inside a 200, always", "repair", [F("CopyPart", body(INTERNAL), times=None)], "ProtocolError",
        "InternalError"),
    Row("repair: AccessDenied inside a 200", "repair", [F("CopyPart", body(DENIED), times=None)], "PermissionDenied",
        "policy does not allow it"),
    Row("repair: a 200 without an ETag", "repair", [F("CopyPart", NOT_THERE, times=2)]),
    Row("repair: an empty 200, always", "repair", [F("CopyPart", body(b""), times=None)], "ProtocolError", "makes no sense"),
    Row("repair: blanks before the answer", "repair", [F("CopyPart", before_body(b" \n" * 50))]),
    Row("repair: lost answer to a kept part", "repair", [F("CopyPart", lose_answer, times=2)]),
    Row("repair: 503 to a kept part, thrice", "repair", [F("CopyPart", SLOW_DOWN, times=3)]),
    Row("repair: parts cannot be copied there", "repair", [F("CopyPart", say(501, "NotImplemented"), times=None)],
        "Unsupported", "cannot copy parts"),
    Row("repair: replaced before a part is kept", "repair", [F("CopyPart", then(lambda c, r, answer: answer(), other_object))],
        "SourceChanged", "not the same any more", left=True),
    Row("repair: replaced before the end", "repair", [F("Complete", then(lambda c, r, answer: answer(), other_object))],
        "Conflict", "", left=True),
    Row("repair: If-Match not known", "repair", [F("Complete", say(501, "NotImplemented"))]),
    Row("repair: lost answer to the end", "repair", [F("Complete", lose_answer)]),
    Row("repair: 403 to the damaged part", "repair", [F("Part", say(403, "AccessDenied"), times=None)], "PermissionDenied",
        "policy"),
    Row("repair: a bit flipped while it is compared", "repair", [F("Get", flip(12345), key="x.raw", least=100001)],
        sends_all=True),
]

HTTP = [Row(row.name, row.verb, row.faults, row.kind, row.text, "http", **row_more) for row, row_more in [
    (Row("nothing wrong", "dav-down", []), {}),
    (Row("nothing wrong, written", "dav-up", []), {}),
    (Row("answer reset at byte 1000000", "dav-down", [F("DavGet", break_answer(1000000), times=3, **IMAGE)]), {}),
    (Row("answer cut short", "dav-down", [F("DavGet", break_answer(700001, reset=False), times=2, **IMAGE)]), {}),
    (Row("Content-Range of another part", "dav-down",
         [F("DavGet", change(Content_Range="bytes 5-1004/20971520"), times=None, **IMAGE)], "ProtocolError", "another part"), {}),
    (Row("200 with the whole body", "dav-down", [F("DavGet", whole_with_200, times=None, **IMAGE)], "Unsupported",
         "ignores byte ranges"), {}),
    (Row("200 with the whole body, and reset", "dav-down", [F("DavGet", whole_then_reset, skip=1, **IMAGE)], "Unsupported",
         "ignores byte ranges"), {}),
    (Row("the object is replaced", "dav-down",
         [F("DavGet", then(lambda c, r, answer: answer(), dav_replaced), skip=1, **IMAGE)], "SourceChanged",
         "not the same any more"), {}),
    (Row("a part of another object, and reset", "dav-down", [F("DavGet", other_part_then_reset, skip=1, **IMAGE)],
         "SourceChanged", "not the same any more"), {}),
    (Row("redirect within the origin", "dav-down", [F("DavGet", redirect(""), key="d.raw", times=None)]),
     {"prepare": lambda run: run.server.objects.update({"dav/real.raw": run.server.objects["dav/d.raw"]})}),
    (Row("redirect to another origin", "dav-down", lambda url: [F("DavGet", redirect(url), times=None, **IMAGE)],
         "InvalidSpec", "sends us to another address"), {"other": True}),
    (Row("a bit flipped on its way", "dav-down", [F("DavGet", flip(12345), **IMAGE)], "VerificationFailed",
        "the first difference is between offset"), {}),
    (Row("a bit flipped on its way, verify", "dav-verify", [F("DavGet", flip(12345), **IMAGE)], "differ", '"equal":false'),
     {"status": 1}),
    (Row("401", "dav-down", [F("DavGet", say(401), times=None, **IMAGE)], "AuthenticationFailed", "user name and password"), {}),
    (Row("the password changes, the new one is in the file", "dav-down", [F("DavGet", expire, skip=1, **IMAGE)]),
     {"prepare": new_password}),
    (Row("404 in the middle", "dav-down", [F("DavGet", say(404), skip=1, times=None, **IMAGE)], "NotFound", ""), {}),
    (Row("HEAD without Content-Length", "dav-down", [F("DavHead", length_of(None), times=None, key="d.raw")], "Unsupported",
         "does not tell the size"), {}),
    (Row("503 with Retry-After", "dav-down", [F("DavGet", say(503, None, Retry_After="2"), **IMAGE)]), {"least_s": 2}),
    (Row("request reset at byte 3000000", "dav-up", [F("DavPut", reset_request(3000000), times=2)]), {}),
    (Row("lost answer to PUT", "dav-up", [F("DavPut", lose_answer)]), {}),
    (Row("lost answer to MOVE", "dav-up", [F("DavMove", lose_answer)]), {}),
    (Row("500 to PUT, always", "dav-up", [F("DavPut", say(500), times=None)], "ProtocolError", "disk is full"), {}),
    (Row("no space", "dav-up", [F("DavPut", say(507), times=None)], "InsufficientSpace", "no space left"), {}),
    (Row("413", "dav-up", [F("DavPut", say(413), times=None)], "InsufficientSpace", "too large"), {}),
    (Row("500 to MOVE, always", "dav-up", [F("DavMove", say(500), times=None)], "ProtocolError", "the server failed"), {}),
    (Row("100-continue that never comes", "dav-up", [F("DavPut", no_continue, times=None)]), {}),
    (Row("an endless error", "dav-up", [F("DavPut", endless(b"HTTP/1.1 403 No\r\n\r\n", b"no " * 10000), times=None)],
         "PermissionDenied", ""), {}),
    (Row("no length before: nothing wrong", "dav-pack", []), {}),
    (Row("no length before: request reset at byte 3000000", "dav-pack", [F("DavPut", reset_request(3000000), times=2)]), {}),
    (Row("no length before: lost answer to PUT", "dav-pack", [F("DavPut", lose_answer)]), {}),
    (Row("no length before: 503", "dav-pack", [F("DavPut", say(503))]), {}),
    (Row("no length before: 411", "dav-pack", [F("DavPut", say(411), times=None)], "Unsupported", "use format raw or qcow2"), {}),
    (Row("no length before: 401", "dav-pack", [F("DavPut", say(401), times=None)], "AuthenticationFailed", ""), {}),
    (Row("no length before: the body is dropped", "dav-pack", [F("DavPut", dropped_body, times=None)], "DataCorrupt",
         "use format raw or qcow2"), {}),
]]

CANCEL = [Row(name, verb, faults, "Cancelled", "cancelled", "cancel", cancel=True, **more) for name, verb, faults, more in [
    ("no answer to a range", "down", [F("Get", never_answer, skip=1, times=None, **IMAGE)], {}),
    ("an answer that stops in its head", "down", [F("Get", hang_in_head, skip=1, times=None, **IMAGE)], {}),
    ("an answer that stops in its body", "down", [F("Get", hang_in_body, times=None, **IMAGE)], {}),
    ("a byte now and then", "down", [F("Get", trickle_for_ever, times=None, **IMAGE)], {}),
    ("no answer to the first question", "down", [F("Head", never_answer, times=None)], {}),
    ("503 without end", "down", [F("Get", SLOW_DOWN, times=None, **IMAGE)], {}),
    ("503 with Retry-After", "down", [F("Get", say(503, "SlowDown", Retry_After="25"), times=None, **IMAGE)], {}),
    ("a part that nobody reads", "up", [F("Part", never_read, times=None)], {}),
    ("no answer to a part", "up", [F("Part", never_answer, times=None)], {}),
    ("no answer to anything", "up", [F("*", never_answer, skip=6, times=None)], {"left": True}),
    ("no answer to the beginning", "up", [F("Create", never_answer, times=None)], {}),
    ("no answer to the end", "up", [F("Complete", never_answer, times=None)], {}),
    ("no answer to a manifest", "up", [F("Put", never_answer, times=None)], {}),
    ("no answer to an abort", "up", [F("Part", never_answer, skip=1, times=None), F("Abort", never_answer, times=None)], {"left": True}),
    ("repair: no answer to a kept part", "repair", [F("CopyPart", never_answer, times=None)], {}),
    ("repair: no answer while comparing", "repair", [F("Get", never_answer, skip=1, times=None, key="x.raw", least=100001)], {}),
    ("repair: no answer to the end", "repair", [F("Complete", never_answer, times=None)], {}),
    ("TLS: silence", "up", [], {"tls": "liar", "greeting": hang}),
    ("verify: no answer", "verify", [F("Get", never_answer, skip=1, times=None, **IMAGE)], {}),
    ("digest: no answer", "digest", [F("Get", never_answer, skip=1, times=None, **IMAGE)], {}),
    ("HTTP: no answer to a range", "dav-down", [F("DavGet", never_answer, times=None, **IMAGE)], {}),
    ("HTTP: a PUT that nobody reads", "dav-up", [F("DavPut", never_read, times=None)], {}),
    ("HTTP: no answer to MOVE", "dav-up", [F("DavMove", never_answer, times=None)], {}),
]]

ROWS = READING + WRITING + REPAIRING + HTTP + CANCEL
