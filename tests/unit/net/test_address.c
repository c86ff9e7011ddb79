// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "net/address.h"

static bool allows(const struct address_filter *f, const char *ip)
{
  struct sockaddr_in v4 = {.sin_family = AF_INET};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
  if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
    return address_filter_allows(f, (struct sockaddr *)&v4);
  assert_int_equal(inet_pton(AF_INET6, ip, &v6.sin6_addr), 1);
  return address_filter_allows(f, (struct sockaddr *)&v6);
}

static void test_ranges(void **state)
{
  (void)state;
  static const struct {
    const char *cidr, *ip;
    bool allowed;
  } rows[] = {
      {"10.0.0.0/8", "10.255.0.1", true},
      {"10.0.0.0/8", "11.0.0.1", false},
      {"10.0.0.0/8", "::ffff:10.1.2.3", true},
      {"10.0.0.0/8", "::10.1.2.3", false},
      {"192.168.4.0/22", "192.168.7.255", true},
      {"192.168.4.0/22", "192.168.8.0", false},
      {"127.0.0.1", "127.0.0.1", true},
      {"127.0.0.1", "127.0.0.2", false},
      {"0.0.0.0/0", "8.8.8.8", true},
      {"0.0.0.0/0", "2001:db8::1", false},
      {"::/0", "8.8.8.8", true},
      {"2001:db8::/33", "2001:db8:7fff::1", true},
      {"2001:db8::/33", "2001:db8:8000::1", false},
      {"::1", "::1", true},
      {"::1", "127.0.0.1", false},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct err err = ERR_INIT;
    struct address_filter *f = address_filter_new(&rows[i].cidr, 1, &err);
    assert_non_null(f);
    if (allows(f, rows[i].ip) != rows[i].allowed)
      fail_msg("%s %s %s", rows[i].cidr, rows[i].allowed ? "must allow" : "must refuse",
               rows[i].ip);
    address_filter_free(f);
  }
}

static void test_malformed(void **state)
{
  (void)state;
  static const char *const rows[] = {"",          "10.0.0.0/33", "10.0.0/8",  "::/129", "host",
                                     "10.0.0.0/", "10.0.0.0/-1", "1.2.3.4/x", "[::1]"};
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct err err = ERR_INIT;
    assert_null(address_filter_new(&rows[i], 1, &err));
    assert_int_equal(err.kind, ERR_INVALID);
  }
}

static void test_empty_allows_all_and_unix_is_no_network(void **state)
{
  (void)state;
  struct sockaddr_un un = {.sun_family = AF_UNIX};
  const char *all = "::/0";
  struct address_filter *none = address_filter_new(NULL, 0, NULL);
  struct address_filter *some = address_filter_new(&all, 1, NULL);
  assert_true(allows(none, "1.2.3.4"));
  assert_true(allows(NULL, "1.2.3.4"));
  assert_false(address_filter_allows(some, (struct sockaddr *)&un));
  address_filter_free(none);
  address_filter_free(some);
  address_filter_free(NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ranges),
      cmocka_unit_test(test_malformed),
      cmocka_unit_test(test_empty_allows_all_and_unix_is_no_network),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
