// SPDX-License-Identifier: Apache-2.0
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

static const struct {
  const char *reason;
  bool retryable;
} kinds[] = {
#define ERR_ROW_(kind, reason, retryable) [kind] = {reason, retryable},
    ERR_KINDS(ERR_ROW_)
#undef ERR_ROW_
};

int err_vset(struct err *err, enum err_kind kind, const char *format, va_list args)
{
  if (!err)
    return -1;
  // Built aside: an argument may be the message that is being replaced.
  char message[ERR_MESSAGE_MAX];
  vsnprintf(message, sizeof(message), format, args);
  memcpy(err->message, message, sizeof(message));
  err->kind = kind;
  err->retry_after_ms = 0;
  return -1;
}

int err_set(struct err *err, enum err_kind kind, const char *format, ...)
{
  va_list args;
  va_start(args, format);
  err_vset(err, kind, format, args);
  va_end(args);
  return -1;
}

static const struct {
  int number;
  enum err_kind kind;
} errno_kinds[] = {
    {ENOENT, ERR_NOT_FOUND},
    {ENODEV, ERR_NOT_FOUND},
    {EEXIST, ERR_EXISTS},
    {EACCES, ERR_DENIED},
    {EPERM, ERR_DENIED},
    {EROFS, ERR_DENIED},
    {ENOSPC, ERR_NO_SPACE},
    {EDQUOT, ERR_NO_SPACE},
    {EFBIG, ERR_NO_SPACE},
    {EBUSY, ERR_BUSY},
    {EAGAIN, ERR_BUSY},
    {ETXTBSY, ERR_BUSY},
    {ECONNREFUSED, ERR_UNREACHABLE},
    {ECONNRESET, ERR_UNREACHABLE},
    {EPIPE, ERR_UNREACHABLE},
    {EHOSTUNREACH, ERR_UNREACHABLE},
    {ENETUNREACH, ERR_UNREACHABLE},
    {ESHUTDOWN, ERR_UNREACHABLE},
    {ENOTCONN, ERR_UNREACHABLE},
    {ETIMEDOUT, ERR_TIMEOUT},
    {ENOMEM, ERR_NO_MEMORY},
    {ECANCELED, ERR_CANCELLED},
    {EINVAL, ERR_INVALID},
    {ENOTDIR, ERR_INVALID},
    {EISDIR, ERR_INVALID},
    {ENAMETOOLONG, ERR_INVALID},
    {ELOOP, ERR_INVALID},
    {EOPNOTSUPP, ERR_UNSUPPORTED},
    {ENOSYS, ERR_UNSUPPORTED},
};

enum err_kind err_kind_of_errno(int number)
{
  for (size_t i = 0; i < ARRAY_SIZE(errno_kinds); i++)
    if (errno_kinds[i].number == number)
      return errno_kinds[i].kind;
  return ERR_IO;
}

int err_errno(struct err *err, int number, const char *format, ...)
{
  char what[ERR_MESSAGE_MAX / 2];
  char text[128];
  va_list args;
  va_start(args, format);
  vsnprintf(what, sizeof(what), format, args);
  va_end(args);
  return err_set(err, err_kind_of_errno(number), "%s: %s", what,
                 strerror_r(number, text, sizeof(text)));
}

int err_prefix(struct err *err, const char *format, ...)
{
  if (!err)
    return -1;
  char context[ERR_MESSAGE_MAX / 2];
  va_list args;
  va_start(args, format);
  vsnprintf(context, sizeof(context) - 2, format, args);
  va_end(args);
  strcat(context, ": ");
  // The tail of a message that gets too long is what goes.
  size_t before = strlen(context);
  size_t kept = strnlen(err->message, sizeof(err->message) - 1 - before);
  memmove(err->message + before, err->message, kept);
  memcpy(err->message, context, before);
  err->message[before + kept] = '\0';
  return -1;
}

const char *err_reason(enum err_kind kind)
{
  return kinds[kind].reason;
}

bool err_retryable(enum err_kind kind)
{
  return kinds[kind].retryable;
}

enum err_kind err_kind_of_reason(const char *reason)
{
  for (int kind = ERR_NONE + 1; reason && kind < ERR_KIND_COUNT; kind++)
    if (strcmp(kinds[kind].reason, reason) == 0)
      return kind;
  return ERR_INTERNAL;
}
