// SPDX-License-Identifier: Apache-2.0
#include "kube/file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/cleanup.h"

static ssize_t read_all(int fd, char *into, size_t max)
{
  size_t length = 0;
  while (length < max) {
    ssize_t got = read(fd, into + length, max - length);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return -1;
    if (got == 0)
      break;
    length += (size_t)got;
  }
  return (ssize_t)length;
}

int kube_file_read(const char *path, struct secret *ret, struct err *err)
{
  cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return err_errno(err, errno, "read %s", path);
  cleanup_free char *bytes = malloc(KUBE_FILE_MAX_BYTES + 1);
  if (!bytes)
    return err_set(err, ERR_NO_MEMORY, "no memory to read %s", path);
  ssize_t length = read_all(fd, bytes, KUBE_FILE_MAX_BYTES + 1);
  int number = errno;
  int failed = length < 0                     ? err_errno(err, number, "read %s", path)
               : length > KUBE_FILE_MAX_BYTES ? err_set(err, ERR_LIMIT, "%s is too long", path)
               : secret_set(ret, bytes, (size_t)length)
                   ? err_set(err, ERR_NO_MEMORY, "no memory to read %s", path)
                   : 0;
  OPENSSL_cleanse(bytes, length > 0 ? (size_t)length : 0);
  return failed;
}

int kube_file_read_token(const char *path, struct secret *ret, struct err *err)
{
  if (kube_file_read(path, ret, err) != 0)
    return -1;
  while (ret->length && isspace((unsigned char)ret->bytes[ret->length - 1]))
    ret->bytes[--ret->length] = '\0';
  return ret->length ? 0 : err_set(err, ERR_INVALID, "%s is empty", path);
}

int kube_base64_decode(const char *text, const char *what, struct secret *ret, struct err *err)
{
  size_t length = strlen(text);
  unsigned char *bytes = malloc(length + 1);
  EVP_ENCODE_CTX *ctx = EVP_ENCODE_CTX_new();
  if (!bytes || !ctx || length > SECRET_MAX_BYTES) {
    free(bytes);
    EVP_ENCODE_CTX_free(ctx);
    return err_set(err, ERR_LIMIT, "%s is too long", what);
  }
  int body = 0, tail = 0;
  EVP_DecodeInit(ctx);
  bool good = EVP_DecodeUpdate(ctx, bytes, &body, (const unsigned char *)text, (int)length) >= 0 &&
              EVP_DecodeFinal(ctx, bytes + body, &tail) == 1 &&
              secret_set(ret, bytes, (size_t)(body + tail)) == 0;
  EVP_ENCODE_CTX_free(ctx);
  OPENSSL_cleanse(bytes, length + 1);
  free(bytes);
  return good ? 0 : err_set(err, ERR_INVALID, "%s is not base64", what);
}
