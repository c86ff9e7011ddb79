// SPDX-License-Identifier: Apache-2.0
// Each manifest that a page shows is one that drover takes: the ```yaml blocks with an apiVersion.
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "crds/manifest.h"
#include "tests/unit/unit.h"

#define PAGE_MAX (1 << 20)

static char *read_page(const char *path)
{
  char *text = malloc(PAGE_MAX);
  FILE *f cleanup_fclose = fopen(path, "r");
  assert_non_null(f);
  assert_non_null(text);
  size_t length = fread(text, 1, PAGE_MAX - 1, f);
  assert_true(feof(f));
  text[length] = '\0';
  return text;
}

// Its objects, counted; a wrong one fails the test with the page and what is wrong.
static size_t check_block(const char *page, const char *block)
{
  char path[] = "/tmp/drover-docs-XXXXXX.yaml";
  struct manifests m = {0};
  struct err err = ERR_INIT;
  int fd = mkstemps(path, 5);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, block, strlen(block)), strlen(block));
  close(fd);
  int failed = manifests_read(path, &m, &err);
  unlink(path);
  if (failed)
    fail_msg("%s: %s in\n%s", page, err.message, block);
  size_t count = m.count;
  manifests_release(&m);
  return count;
}

static size_t check_page(const char *page)
{
  static const char fence[] = "\n```yaml\n";
  cleanup_free char *text = read_page(page);
  size_t count = 0;
  for (char *at = text; (at = strstr(at, fence));) {
    char *block = at + strlen(fence);
    char *end = strstr(block, "\n```");
    assert_non_null(end);
    end[1] = '\0';
    if (strstr(block, "apiVersion:"))
      count += check_block(page, block);
    at = end + 2;
  }
  return count;
}

static void pages_show_right_manifests(void **state)
{
  (void)state;
  static const char *const patterns[] = {"/*.md", "/docs/*.md", "/docs/*/*.md"};
  glob_t pages = {0};
  size_t count = 0;
  for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
    cleanup_free char *pattern = str_printf("%s%s", SOURCE_DIR, patterns[i]);
    assert_int_equal(glob(pattern, i ? GLOB_APPEND : 0, NULL, &pages), 0);
  }
  for (size_t i = 0; i < pages.gl_pathc; i++)
    count += check_page(pages.gl_pathv[i]);
  globfree(&pages);
  assert_true(count >= 15);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(pages_show_right_manifests)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
