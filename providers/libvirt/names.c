// SPDX-License-Identifier: Apache-2.0
// Names of what is made: derived from the object's uid, so that a repeat finds it.
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/str.h"
#include "providers/libvirt/build_internal.h"

#define WORD_MAX 100

// Ours, drawn at random: the name space of domain UUIDs.
static const unsigned char uuid_space[16] = {0x5c, 0x1e, 0x9b, 0x0d, 0x61, 0x47, 0x4c, 0x5b,
                                             0x9f, 0x2a, 0xd4, 0x30, 0x77, 0x18, 0xe6, 0xa3};

static void sha1(const char *text, unsigned char ret[EVP_MAX_MD_SIZE])
{
  unsigned length = 0;
  EVP_MD_CTX *c = EVP_MD_CTX_new();
  EVP_DigestInit_ex(c, EVP_sha1(), NULL);
  EVP_DigestUpdate(c, uuid_space, sizeof(uuid_space));
  EVP_DigestUpdate(c, text, strlen(text));
  EVP_DigestFinal_ex(c, ret, &length);
  EVP_MD_CTX_free(c);
}

void build_uuid(const char *uid, char ret[BUILD_UUID_BYTES])
{
  unsigned char h[EVP_MAX_MD_SIZE];
  sha1(uid, h);
  h[6] = (unsigned char)((h[6] & 0x0f) | 0x50); // version 5
  h[8] = (unsigned char)((h[8] & 0x3f) | 0x80); // variant of RFC 4122
  size_t at = 0;
  for (size_t i = 0; i < 16; i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10)
      ret[at++] = '-';
    at += (size_t)snprintf(ret + at, BUILD_UUID_BYTES - at, "%02x", h[i]);
  }
}

// 52:54:00 is QEMU's own prefix, locally administered.
void build_mac(const char *uid, size_t nic, char ret[BUILD_MAC_BYTES])
{
  unsigned char h[EVP_MAX_MD_SIZE];
  cleanup_free char *text = str_printf("%s/nic/%zu", uid, nic);
  sha1(text ? text : uid, h);
  snprintf(ret, BUILD_MAC_BYTES, "52:54:00:%02x:%02x:%02x", h[0], h[1], h[2]);
}

static bool is_plain(char c)
{
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int build_uid8(const char *uid, char ret[9], struct err *err)
{
  size_t n = 0;
  for (const char *c = uid ? uid : ""; *c && n < 8; c++)
    if (is_plain(*c))
      ret[n++] = *c;
  ret[n] = '\0';
  return n == 8 ? 0 : err_set(err, ERR_INVALID, "the uid '%.40s' is too short", uid ? uid : "");
}

char *build_file_word(const char *name)
{
  char *word = strndup(name, WORD_MAX);
  for (char *c = word; c && *c; c++)
    if (!is_plain(*c) && (c == word || !strchr("._-", *c)))
      *c = '_';
  return word;
}

int build_name_ok(const char *name, struct err *err)
{
  if (str_empty(name) || strspn(name, " ") == strlen(name))
    return err_set(err, ERR_INVALID, "a VM needs a name");
  if (strlen(name) > LIMIT_NAME_BYTES)
    return err_set(err, ERR_INVALID, "the name of a VM has at most %d bytes", LIMIT_NAME_BYTES);
  if (str_eq(name, ".") || str_eq(name, "..")) // libvirt makes folders of that name
    return err_set(err, ERR_INVALID, "'%s' is no name for a VM", name);
  if (strchr(name, '/') || !xml_can_carry(name))
    return err_set(err, ERR_INVALID,
                   "libvirt takes no '/' and no control characters in the name "
                   "of a VM: '%s'",
                   name);
  return 0;
}
