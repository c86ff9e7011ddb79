// SPDX-License-Identifier: Apache-2.0
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"

#define ADDRESS_FILTER_MAX 1024

// Every address is held as IPv6; IPv4 as ::ffff:a.b.c.d, with 96 more bits of prefix.
struct range {
  uint8_t address[16];
  unsigned bits;
};

struct address_filter {
  size_t count;
  struct range ranges[];
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void map_v4(const void *v4, uint8_t out[16])
{
  memcpy(out, mapped_prefix, sizeof(mapped_prefix));
  memcpy(out + sizeof(mapped_prefix), v4, 4);
}

static bool parse_range(const char *cidr, struct range *ret)
{
  char host[INET6_ADDRSTRLEN + 1];
  const char *slash = strchr(cidr, '/');
  size_t length = slash ? (size_t)(slash - cidr) : strlen(cidr);
  if (length >= sizeof(host))
    return false;
  memcpy(host, cidr, length);
  host[length] = '\0';

  struct in_addr v4;
  bool is_v4 = inet_pton(AF_INET, host, &v4) == 1;
  if (is_v4)
    map_v4(&v4, ret->address);
  else if (inet_pton(AF_INET6, host, ret->address) != 1)
    return false;
  int64_t widest = is_v4 ? 32 : 128, bits = widest;
  if (slash && (!str_int64(slash + 1, &bits) || bits < 0 || bits > widest))
    return false;
  ret->bits = (unsigned)(bits + 128 - widest);
  return true;
}

struct address_filter *address_filter_new(const char *const *cidrs, size_t count, struct err *err)
{
  if (count > ADDRESS_FILTER_MAX)
    return err_set(err, ERR_LIMIT, "more than %d allowed endpoints", ADDRESS_FILTER_MAX), NULL;
  struct address_filter *f cleanup_free = calloc(1, sizeof(*f) + count * sizeof(f->ranges[0]));
  if (!f)
    return err_set(err, ERR_NO_MEMORY, "no memory for an address filter"), NULL;
  f->count = count;
  for (size_t i = 0; i < count; i++)
    if (!parse_range(cidrs[i], &f->ranges[i]))
      return err_set(err, ERR_INVALID,
                     "'%.100s' is not an address range: write 10.0.0.0/8, 2001:db8::/32 or a "
                     "single address",
                     cidrs[i]),
             NULL;
  return TAKE(f);
}

void address_filter_free(struct address_filter *f)
{
  free(f);
}

static bool contains(const struct range *r, const uint8_t address[16])
{
  unsigned whole = r->bits / 8, rest = r->bits % 8;
  if (memcmp(r->address, address, whole) != 0)
    return false;
  uint8_t mask = (uint8_t)(0xff00u >> rest);
  return rest == 0 || ((r->address[whole] ^ address[whole]) & mask) == 0;
}

bool address_filter_allows(const struct address_filter *f, const struct sockaddr *address)
{
  if (!f || f->count == 0)
    return true;
  uint8_t ip[16];
  if (address->sa_family == AF_INET)
    map_v4(&((const struct sockaddr_in *)(const void *)address)->sin_addr, ip);
  else if (address->sa_family == AF_INET6)
    memcpy(ip, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, sizeof(ip));
  else
    return false;
  for (size_t i = 0; i < f->count; i++)
    if (contains(&f->ranges[i], ip))
      return true;
  return false;
}

char *address_text(const struct sockaddr *address, char b[64])
{
  const void *ip = NULL;
  if (address->sa_family == AF_INET)
    ip = &((const struct sockaddr_in *)(const void *)address)->sin_addr;
  else if (address->sa_family == AF_INET6)
    ip = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
  if (!ip || !inet_ntop(address->sa_family, ip, b, 64))
    memcpy(b, "?", 2);
  return b;
}
