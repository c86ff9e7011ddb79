// SPDX-License-Identifier: Apache-2.0
// Errors. A fallible function returns 0 or -1 (or a pointer or NULL) and takes `struct err *err` as
// its last parameter, which it leaves alone on success and sets once where the fault was found:
//
//     return err_set(err, ERR_NOT_FOUND, "pool '%s' does not exist on %s", pool, host);
//
// Callers add context with err_prefix(). The value lives on the caller's stack: no allocation on
// the error path, nothing to release. The kind says what a reconciler does about it: its condition
// reason, and whether trying again can help. Messages are sentences for the person who wrote the
// manifest: what is wrong, and what to do. Never a secret in one.
#pragma once

#include <stdarg.h>
#include <stdbool.h>

// kind, condition reason, retryable
#define ERR_KINDS(X)                                                                               \
  X(ERR_NONE, "", false)                                                                           \
  X(ERR_INVALID, "InvalidSpec", false)         /* the manifest or an argument is wrong */          \
  X(ERR_NOT_FOUND, "NotFound", false)          /* the thing named does not exist */                \
  X(ERR_EXISTS, "AlreadyExists", false)        /* a name is taken by something foreign */          \
  X(ERR_AUTH, "AuthenticationFailed", false)   /* credentials refused */                           \
  X(ERR_DENIED, "PermissionDenied", false)     /* credentials fine, action not allowed */          \
  X(ERR_TLS, "CertificateNotTrusted", false)   /* peer certificate not trusted */                  \
  X(ERR_NO_SPACE, "InsufficientSpace", false)  /* target full or quota reached */                  \
  X(ERR_UNSUPPORTED, "Unsupported", false)     /* cannot be done on this backend or format */      \
  X(ERR_CORRUPT, "DataCorrupt", false)         /* content damaged, hostile or truncated */         \
  X(ERR_MISMATCH, "VerificationFailed", false) /* digests differ */                                \
  X(ERR_CHANGED, "SourceChanged", false)       /* the source is not what it was */                 \
  X(ERR_LIMIT, "LimitExceeded", false)         /* a named limit of ours */                         \
  X(ERR_CANCELLED, "Cancelled", false)         /* somebody asked to stop */                        \
  X(ERR_PREFLIGHT, "PreflightFailed", false)   /* a check before any change failed */              \
  X(ERR_DEADLINE, "DeadlineExceeded", false)   /* the time-out of the whole object passed */       \
  X(ERR_BUSY, "ResourceBusy", true)            /* locked or in use: may become free */             \
  X(ERR_CONFLICT, "Conflict", true)            /* a precondition failed: read again */             \
  X(ERR_UNREACHABLE, "Unreachable", true)      /* no connection, reset, name not resolved */       \
  X(ERR_TIMEOUT, "TimedOut", true)             /* no answer in time */                             \
  X(ERR_THROTTLED, "Throttled", true)          /* told to slow down */                             \
  X(ERR_PROTOCOL, "ProtocolError", true)       /* an answer that makes no sense, 5xx */            \
  X(ERR_IO, "IOError", true)                   /* local read, write or child failed */             \
  X(ERR_NO_MEMORY, "OutOfMemory", true)                                                            \
  X(ERR_INTERNAL, "InternalError", true) /* a bug of ours */

enum err_kind {
#define ERR_ENUM_(kind, reason, retryable) kind,
  ERR_KINDS(ERR_ENUM_)
#undef ERR_ENUM_
      ERR_KIND_COUNT
};

#define ERR_MESSAGE_MAX 768

struct err {
  enum err_kind kind;
  long retry_after_ms; // what the far side asked for, 0 when it did not
  char message[ERR_MESSAGE_MAX];
};

#define ERR_INIT                                                                                   \
  {                                                                                                \
    .kind = ERR_NONE                                                                               \
  }

// Sets kind and message, both replaced; returns -1, so that `return err_set(...)` is one line. err
// may be NULL (the caller does not care).
int err_set(struct err *err, enum err_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int err_vset(struct err *err, enum err_kind kind, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
// As err_set, for a failed system call: the kind follows from the number (ENOSPC, EACCES, ...), and
// its text is appended: "open /x: Permission denied".
int err_errno(struct err *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Puts "context: " before the message. Returns -1.
int err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

enum err_kind err_kind_of_errno(int number);
// CamelCase reason for a condition, e.g. "InsufficientSpace".
const char *err_reason(enum err_kind kind);
bool err_retryable(enum err_kind kind);
// The kind with that reason; ERR_INTERNAL when no kind has it. For errors that crossed a process.
enum err_kind err_kind_of_reason(const char *reason);
