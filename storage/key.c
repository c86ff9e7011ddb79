// SPDX-License-Identifier: Apache-2.0
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "storage/storage_internal.h"

// Length of one well-formed UTF-8 character (RFC 3629: no overlong forms, no surrogates), 0 when
// malformed.
static size_t utf8_length(const unsigned char *p)
{
  if (p[0] < 0x80)
    return 1;
  if (p[0] >= 0xc2 && p[0] <= 0xdf)
    return (p[1] & 0xc0) == 0x80 ? 2 : 0;
  if ((p[0] & 0xf0) == 0xe0) {
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f);
    return !bad && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 ? 3 : 0;
  }
  if (p[0] >= 0xf0 && p[0] <= 0xf4) {
    bool bad = (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return !bad && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80 && (p[3] & 0xc0) == 0x80 ? 4 : 0;
  }
  return 0;
}

static const char *bad_character(const char *key)
{
  for (const unsigned char *p = (const unsigned char *)key; *p;) {
    size_t n = utf8_length(p);
    if (n == 0)
      return "is not UTF-8";
    if (*p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0))
      return "holds a control character";
    p += n;
  }
  return NULL;
}

static const char *bad_segment(const char *segment, size_t length)
{
  static const size_t suffix = sizeof(STORAGE_PARTIAL_SUFFIX) - 1;
  if (length == 0)
    return "has an empty part between slashes";
  if (length > STORAGE_SEGMENT_BYTES_MAX)
    return "has a part of more than 255 bytes between slashes";
  if ((length == 1 && segment[0] == '.') || (length == 2 && memcmp(segment, "..", 2) == 0))
    return "holds '.' or '..'";
  if (length >= suffix && memcmp(segment + length - suffix, STORAGE_PARTIAL_SUFFIX, suffix) == 0)
    return "has a name that ends in .part, which is kept for unfinished uploads";
  return NULL;
}

static const char *bad_key(const char *key)
{
  const char *why = strlen(key) > LIMIT_PATH_BYTES ? "is too long" : bad_character(key);
  for (const char *at = key; !why; at++) {
    size_t length = strcspn(at, "/");
    why = bad_segment(at, length);
    at += length;
    if (*at == '\0')
      break;
  }
  return why;
}

int storage_key_check(const char *key, struct err *err)
{
  const char *why = bad_key(key);
  if (!why)
    return 0;
  char shown[201];
  size_t n = 0;
  for (; key[n] && n < sizeof(shown) - 1; n++)
    shown[n] = (unsigned char)key[n] < 0x20 || (unsigned char)key[n] >= 0x7f ? '?' : key[n];
  shown[n] = '\0';
  return err_set(err, ERR_INVALID, "object name '%s' %s", shown, why);
}

char *storage_key_join(const char *prefix, const char *key)
{
  if (str_empty(prefix))
    return str_dup(key ? key : "");
  return str_empty(key) ? str_dup(prefix) : str_printf("%s/%s", prefix, key);
}

char *storage_owner_hash(const char *owner, char b[STORAGE_HASH_TEXT])
{
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256((const unsigned char *)owner, strlen(owner), digest);
  for (int i = 0; i < 8; i++)
    snprintf(b + i * 2, 3, "%02x", digest[i]);
  return b;
}

// The name is cut so that the whole stays within what file systems take; the hash is over the owner
// and the whole key, so cut names do not meet.
char *storage_partial_key(const char *key, const char *owner)
{
  const char *slash = strrchr(key, '/');
  const char *name = slash ? slash + 1 : key;
  char *both = str_printf("%s\n%s", owner ? owner : "", key);
  if (!both)
    return NULL;
  char hash[STORAGE_HASH_TEXT];
  storage_owner_hash(both, hash);
  free(both);
  return str_printf("%.*s.%.*s.%s" STORAGE_PARTIAL_SUFFIX, (int)(name - key), key, 200, name, hash);
}

bool storage_key_is_partial(const char *key)
{
  return str_ends(key, STORAGE_PARTIAL_SUFFIX);
}
