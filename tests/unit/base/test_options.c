// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/unit.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/options.h"
#include "base/str.h"

struct values {
  bool quiet, watch;
  const char *file;
  struct option_values names;
  int64_t count, limit_bytes, wait_ms;
  int output;
};

static const char *const outputs[] = {"table", "json", NULL};

#define AT(field) offsetof(struct values, field)

static const struct option rows[] = {
    {"quiet", 'q', OPTION_FLAG, AT(quiet), .help = "says nothing"},
    {"watch", 'w', OPTION_FLAG, AT(watch), .help = "stays"},
    {"file", 'f', OPTION_STRING, AT(file), .argument = "FILE", .help = "what to read"},
    {"namespace", 'n', OPTION_LIST, AT(names), .argument = "N", .help = "where; repeatable"},
    {"count", 0, OPTION_INT, AT(count), .argument = "N", .help = "how many", .min = 1, .max = 16},
    {"limit", 0, OPTION_BYTES, AT(limit_bytes), .argument = "RATE", .help = "bytes a second"},
    {"wait", 0, OPTION_DURATION, AT(wait_ms), .argument = "TIME", .help = "how long"},
    {"output", 'o', OPTION_CHOICE, AT(output), .choices = outputs, .help = "form of the answer"},
};

static const struct options options = {
    .name = "try",
    .usage = "[options] A [B]",
    .summary = "Tries.",
    OPTIONS_ROWS(rows),
    .operands_min = 1,
    .operands_max = 2,
    .examples = "  drover try --count 3 a\n",
};

// One line of words, parsed; the answer is a sentence of what came out, or the error.
static char *said(const char *line)
{
  char *copy cleanup_free = str_dup(line);
  char *argv[32] = {(char[]){"try"}};
  int argc = 1;
  for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
    argv[argc++] = word;
  struct values v = {.count = 4};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  char *answer;
  if (options_parse(&options, argc, argv, &v, &operands, &err))
    answer = str_dup(err.message);
  else
    answer = str_printf("%s%s file=%s names=%zu/%s count=%lld limit=%lld wait=%lld %s %zu:%s",
                        v.quiet ? "q" : "", v.watch ? "w" : "", v.file ? v.file : "-",
                        v.names.count, v.names.count ? v.names.items[v.names.count - 1] : "-",
                        (long long)v.count, (long long)v.limit_bytes, (long long)v.wait_ms,
                        outputs[v.output], operands.count, operands.items[0]);
  option_values_release(&v.names);
  option_values_release(&operands);
  return answer;
}

static void test_lines(void **state)
{
  (void)state;
  static const struct {
    const char *line, *said;
  } table[] = {
      {"a", " file=- names=0/- count=4 limit=0 wait=0 table 1:a"},
      {"-qw a b", "qw file=- names=0/- count=4 limit=0 wait=0 table 2:a"},
      {"--quiet=false --watch=true a", "w file=- names=0/- count=4 limit=0 wait=0 table 1:a"},
      {"a --file x --file=y", " file=y names=0/- count=4 limit=0 wait=0 table 1:a"},
      {"-fx -n one -ntwo a", " file=x names=2/two count=4 limit=0 wait=0 table 1:a"},
      {"-qf x a", "q file=x names=0/- count=4 limit=0 wait=0 table 1:a"},
      {"--count 16 --limit 200M --wait 1m30s a",
       " file=- names=0/- count=16 limit=200000000 wait=90000 table 1:a"},
      {"-o json a", " file=- names=0/- count=4 limit=0 wait=0 json 1:a"},
      {"-- --quiet", " file=- names=0/- count=4 limit=0 wait=0 table 1:--quiet"},
      {"-", " file=- names=0/- count=4 limit=0 wait=0 table 1:-"},
      {"--file= a", " file= names=0/- count=4 limit=0 wait=0 table 1:a"},
      {"--limt 3 a", "unknown option '--limt'; did you mean --limit?"},
      {"--outptu=json a", "unknown option '--outptu=json'; did you mean --output?"},
      {"--zzzzzz a", "unknown option '--zzzzzz'; see 'drover try --help'"},
      {"-z a", "unknown option '-z'; see 'drover try --help'"},
      {"a --file", "--file needs a value (FILE)"},
      {"a --count 0", "--count: '0' is out of bounds (1 to 16)"},
      {"a --count 1x", "--count: '1x' is not a whole number"},
      {"a --limit fast", "--limit: 'fast' is not a size like 200M or 1.5Gi"},
      {"a --wait 5", "--wait: '5' is not a duration like 90s or 1h30m"},
      {"a -o yaml", "--output: 'yaml' is not one of table, json"},
      {"a --quiet=yes", "--quiet: 'yes' is not true or false"},
      {"", "too few arguments: 0 given. Usage: drover try [options] A [B]"},
      {"a b c", "too many arguments: 3 given. Usage: drover try [options] A [B]"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
    char *answer cleanup_free = said(table[i].line);
    assert_string_equal(answer, table[i].said);
  }
}

static void test_help(void **state)
{
  (void)state;
  char *text = NULL;
  size_t length = 0;
  FILE *f = open_memstream(&text, &length);
  options_help(&options, f);
  fclose(f);
  assert_non_null(strstr(text, "Usage: drover try [options] A [B]\n"));
  assert_non_null(strstr(text, "  -q, --quiet                   says nothing\n"));
  assert_non_null(strstr(text, "  -o, --output table|json       form of the answer\n"));
  assert_non_null(strstr(text, "  --limit RATE                  bytes a second\n"));
  assert_non_null(strstr(text, "Examples:\n  drover try --count 3 a\n"));
  free(text);
}

static void test_nearest(void **state)
{
  (void)state;
  static const char *const words[] = {"copy", "digest", "verify", "version"};
  assert_string_equal(options_nearest("coyp", words, 4), "copy");
  assert_string_equal(options_nearest("verfy", words, 4), "verify");
  assert_null(options_nearest("frobnicate", words, 4));
  char lengthy[200];
  memset(lengthy, 'x', sizeof lengthy - 1);
  lengthy[sizeof lengthy - 1] = 0;
  assert_null(options_nearest(lengthy, words, 4));
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_lines),
      cmocka_unit_test(test_help),
      cmocka_unit_test(test_nearest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
