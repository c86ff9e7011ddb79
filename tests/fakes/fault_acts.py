# SPDX-License-Identifier: Apache-2.0
"""What a fault does: functions (connection, request, answer) for fault_server.Fault. answer() performs the request as
a good server would and returns what it would say; an act that does not call it does not do what was asked."""
import gzip
import time

from fault_server import Answer, Gone, s3_error


def early(act):
    """Runs before the body of the request is read."""
    act.early = True
    return act


# ---- connections that break or hang ---------------------------------------------------------


def reset_request(count):
    """RST when so many bytes of the request's body are here."""
    @early
    def act(c, request, answer):
        c.take(count if request.chunked else min(count, request.length))
        c.reset()
    return act


def dropped_body(c, request, answer):
    """Taken, and nothing of it kept."""
    request.body = b""
    return answer()


def break_answer(count, reset=True):
    """The head and so many bytes of the body, then RST or FIN."""
    def act(c, request, answer):
        a = answer()
        c.send(a.head() + a.body[:count])
        if reset:
            c.reset()
        raise Gone
    return act


def lose_answer(c, request, answer):
    """Done, but nobody hears of it."""
    answer()
    c.reset()


def never_answer(c, request, answer):
    c.wait_gone()


@early
def never_read(c, request, answer):
    c.wait_gone()


def hang_in_body(c, request, answer):
    a = answer()
    c.send(a.head() + a.body[:len(a.body) // 2])
    c.wait_gone()


def hang_in_head(c, request, answer):
    c.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    c.wait_gone()


def trickle(piece, delay_s, pieces):
    """So many small pieces, then the rest at once."""
    def act(c, request, answer):
        a = answer()
        c.send(a.head())
        for i in range(pieces):
            c.send(a.body[i * piece:(i + 1) * piece])
            time.sleep(delay_s)
        c.send(a.body[pieces * piece:])
        c.keep = False
        raise Gone
    return act


def trickle_for_ever(c, request, answer):
    """A byte now and then: not idle, and not getting anywhere."""
    a = answer()
    c.send(a.head())
    for i in range(len(a.body)):
        c.send(a.body[i:i + 1])
        time.sleep(0.1)


def close_after(said):
    """The connection ends after the answer, with or without a word."""
    def act(c, request, answer):
        a = answer()
        c.keep = False
        if said:
            a.headers["Connection"] = "close"
        return a
    return act


def no_continue(c, request, answer):
    return answer()


no_continue.silent = True


# ---- answers that lie -----------------------------------------------------------------------


def change(**headers):
    """Other headers; _ stands for -, None leaves one out, a function makes it from the old one."""
    def act(c, request, answer):
        a = answer()
        for name, value in headers.items():
            name = name.replace("_", "-")
            a.headers[name] = value(a.headers.get(name)) if callable(value) else value
        return a
    return act


def wrong_length(difference):
    def act(c, request, answer):
        a = answer()
        a.headers["length"] = len(a.body) + difference
        c.keep = difference < 0
        c.answer(request, a)
        raise Gone
    return act


def length_of(value):
    def act(c, request, answer):
        a = answer()
        a.headers["length"] = value
        return a
    return act


def whole_with_200(c, request, answer):
    request.whole = True
    return answer()


def whole_then_reset(c, request, answer):
    """As if ranges were unknown, and broken before that could be noticed by its length."""
    request.whole = True
    return break_answer(100000)(c, request, answer)


def other_part_then_reset(c, request, answer):
    """A part with a right label, of another object, and broken in the middle."""
    a = answer()
    a.headers["ETag"] = '"ffffffffffffffffffffffffffffffff"'
    c.send(a.head() + bytes(len(a.body) // 2))
    c.reset()


def flip(at):
    """One bit of the answer on its way."""
    def act(c, request, answer):
        a = answer()
        if len(a.body) > at:
            c.server.flipped = request.first + at
            a.body = a.body[:at] + bytes([a.body[at] ^ 4]) + a.body[at + 1:]
        return a
    return act


def flip_request(at):
    """One bit of the request's body on its way."""
    def act(c, request, answer):
        return answer()
    act.spoil = lambda body: body[:at] + bytes([body[at] ^ 4]) + body[at + 1:] if len(body) > at else body
    return act


def gzipped(c, request, answer):
    a = answer()
    a.headers["Content-Encoding"], a.body = "gzip", gzip.compress(a.body)[:50000]
    return a


def say(status, code=None, message="as the test wants it", **headers):
    """That, and nothing is done. code None: no body."""
    def act(c, request, answer):
        headers_ = {name.replace("_", "-"): value for name, value in headers.items()}
        return s3_error(status, code, message, **headers_) if code else Answer(status, headers_)
    return act


def body(text, status=200):
    def act(c, request, answer):
        return Answer(status, {"Content-Type": "application/xml"}, text)
    return act


def done_but_says(text):
    def act(c, request, answer):
        answer()
        return Answer(200, {}, text)
    return act


def before_body(text):
    """S3 keeps a long call alive with blanks."""
    def act(c, request, answer):
        a = answer()
        a.body = text + a.body
        return a
    return act


def endless(head, piece):
    def act(c, request, answer):
        c.send(head)
        while True:
            c.send(piece)
    return act


def redirect(to):
    """to: an origin, or "" for the same one."""
    def act(c, request, answer):
        here = "/dav/real.raw" if request.op.startswith("Dav") else "/faults/real.raw"
        return Answer(307, {"Location": to + here})
    return act


def then(first, *others):
    """Runs something beside (server, request), then the act."""
    def act(c, request, answer):
        for other in others:
            other(c.server, request)
        return first(c, request, answer)
    return act


# ---- greetings: before HTTP, or TLS, begins --------------------------------------------------


def hang(c):
    c.wait_gone()


def garbage(c):
    c.send(b"220 mail.example.net ready for anything but TLS or HTTP\r\n")
    c.wait_gone()


def reset_at_once(c):
    c.reset()
