// SPDX-License-Identifier: Apache-2.0
#include "base/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"

#define OPTIONS_VALUES_MAX 1024 // operands, or values of one option
#define OPTIONS_ROWS_MAX   64   // options of one command
#define HELP_COLUMN        30

struct parse {
  const struct options *options;
  int argc;
  char **argv;
  int next; // of argv
  char *into;
  struct option_values *operands;
};

void option_values_release(struct option_values *v)
{
  free(v->items);
  *v = (struct option_values){0};
}

static int values_add(struct option_values *v, const char *text, struct err *err)
{
  if (v->count == OPTIONS_VALUES_MAX)
    return err_set(err, ERR_INVALID, "too many arguments");
  const char **items = realloc(v->items, (v->count + 1) * sizeof *items);
  if (!items)
    return err_set(err, ERR_NO_MEMORY, "no memory for arguments");
  v->items = items;
  items[v->count++] = text;
  return 0;
}

const char *options_nearest(const char *word, const char *const *candidates, size_t count)
{
  const char *nearest = NULL;
  size_t length = strlen(word);
  size_t least = length < 18 ? length / 3 + 2 : 8; // more slips than a word of this length may have
  for (size_t i = 0; i < count; i++) {
    size_t d = str_distance(word, candidates[i]);
    if (d < least) {
      least = d;
      nearest = candidates[i];
    }
  }
  return nearest;
}

static int unknown_option(const struct options *o, const char *text, const char *name,
                          struct err *err)
{
  const char *names[OPTIONS_ROWS_MAX];
  size_t count = 0;
  for (size_t i = 0; i < o->row_count && count < OPTIONS_ROWS_MAX; i++)
    names[count++] = o->rows[i].name;
  const char *nearest = name ? options_nearest(name, names, count) : NULL;
  if (nearest)
    return err_set(err, ERR_INVALID, "unknown option '%s'; did you mean --%s?", text, nearest);
  return err_set(err, ERR_INVALID, "unknown option '%s'; see 'drover %s --help'", text, o->name);
}

static int wrong_value(const struct option *row, const char *value, const char *want,
                       struct err *err)
{
  return err_set(err, ERR_INVALID, "--%s: '%s' is not %s", row->name, value, want);
}

static int set_number(const struct option *row, const char *value, int64_t *to, struct err *err)
{
  static const struct {
    bool (*read)(const char *s, int64_t *ret);
    const char *want;
  } readers[] = {
      [OPTION_INT] = {str_int64, "a whole number"},
      [OPTION_BYTES] = {str_bytes, "a size like 200M or 1.5Gi"},
      [OPTION_DURATION] = {str_duration, "a duration like 90s or 1h30m"},
  };
  int64_t n;
  if (!readers[row->type].read(value, &n))
    return wrong_value(row, value, readers[row->type].want, err);
  if (n < row->min || (row->max && n > row->max))
    return err_set(err, ERR_INVALID, "--%s: '%s' is out of bounds (%lld to %lld)", row->name, value,
                   (long long)row->min, (long long)(row->max ? row->max : INT64_MAX));
  *to = n;
  return 0;
}

static int set_choice(const struct option *row, const char *value, int *to, struct err *err)
{
  struct buf words CLEANUP(buf_release) = BUF_INIT(512);
  for (int i = 0; row->choices[i]; i++) {
    if (str_eq(row->choices[i], value)) {
      *to = i;
      return 0;
    }
    if (row->choices[i][0])
      buf_printf(&words, "%s%s", words.length ? ", " : "", row->choices[i]);
  }
  return err_set(err, ERR_INVALID, "--%s: '%s' is not one of %s", row->name, value,
                 buf_str(&words));
}

static int set_flag(const struct option *row, const char *value, bool *to, struct err *err)
{
  if (value && !str_eq(value, "true") && !str_eq(value, "false"))
    return wrong_value(row, value, "true or false", err);
  *to = !str_eq(value, "false");
  return 0;
}

// value is NULL only for flags without one.
static int set_value(struct parse *p, const struct option *row, const char *value, struct err *err)
{
  void *to = p->into + row->offset;
  switch (row->type) {
  case OPTION_FLAG:
    return set_flag(row, value, to, err);
  case OPTION_STRING:
    *(const char **)to = value;
    return 0;
  case OPTION_LIST:
    return values_add(to, value, err);
  case OPTION_CHOICE:
    return set_choice(row, value, to, err);
  case OPTION_INT:
  case OPTION_BYTES:
  case OPTION_DURATION:
    return set_number(row, value, to, err);
  }
  return err_set(err, ERR_INTERNAL, "option --%s has no type", row->name);
}

// value: what stood behind '=' or the letter, or NULL: then the next word is taken.
static int take_value(struct parse *p, const struct option *row, const char *value, struct err *err)
{
  if (!value && row->type != OPTION_FLAG) {
    if (p->next == p->argc)
      return err_set(err, ERR_INVALID, "--%s needs a value (%s)", row->name, row->argument);
    value = p->argv[p->next++];
  }
  return set_value(p, row, value, err);
}

static int parse_long(struct parse *p, const char *text, struct err *err)
{
  const char *equals = strchr(text, '=');
  char *name cleanup_free = strndup(text + 2, equals ? (size_t)(equals - text - 2) : strlen(text));
  if (!name)
    return err_set(err, ERR_NO_MEMORY, "no memory for arguments");
  for (size_t i = 0; i < p->options->row_count; i++)
    if (str_eq(p->options->rows[i].name, name))
      return take_value(p, &p->options->rows[i], equals ? equals + 1 : NULL, err);
  return unknown_option(p->options, text, name, err);
}

static const struct option *find_letter(const struct options *o, char letter)
{
  for (size_t i = 0; i < o->row_count; i++)
    if (o->rows[i].letter == letter)
      return &o->rows[i];
  return NULL;
}

// "-q", "-qw" (flags), "-ojson" or "-o json".
static int parse_letters(struct parse *p, const char *text, struct err *err)
{
  for (const char *letter = text + 1; *letter; letter++) {
    const struct option *row = find_letter(p->options, *letter);
    if (!row)
      return unknown_option(p->options, text, NULL, err);
    if (row->type != OPTION_FLAG)
      return take_value(p, row, letter[1] ? letter + 1 : NULL, err);
    if (take_value(p, row, NULL, err))
      return -1;
  }
  return 0;
}

static int parse_operand(struct parse *p, const char *text, struct err *err)
{
  if (p->options->operands_max == 0)
    return err_set(err, ERR_INVALID, "unexpected argument '%s'; see 'drover %s --help'", text,
                   p->options->name);
  return values_add(p->operands, text, err);
}

static bool wants_help(int argc, char **argv)
{
  for (int i = 1; i < argc && !str_eq(argv[i], "--"); i++)
    if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h"))
      return true;
  return false;
}

static int check_operands(const struct options *o, const struct option_values *v, struct err *err)
{
  size_t count = v ? v->count : 0;
  if (count >= o->operands_min && count <= o->operands_max)
    return 0;
  return err_set(err, ERR_INVALID, "%s: %zu given. Usage: drover %s %s",
                 count < o->operands_min ? "too few arguments" : "too many arguments", count,
                 o->name, o->usage);
}

int options_parse(const struct options *o, int argc, char **argv, void *into,
                  struct option_values *ret_operands, struct err *err)
{
  struct parse p = {
      .options = o, .argc = argc, .argv = argv, .next = 1, .into = into, .operands = ret_operands};
  if (wants_help(argc, argv)) {
    options_help(o, stdout);
    return OPTIONS_HELP_SHOWN;
  }
  bool only_operands = false;
  while (p.next < argc) {
    const char *text = argv[p.next++];
    int rc = 0;
    if (only_operands || text[0] != '-' || !text[1])
      rc = parse_operand(&p, text, err);
    else if (str_eq(text, "--"))
      only_operands = true;
    else
      rc = text[1] == '-' ? parse_long(&p, text, err) : parse_letters(&p, text, err);
    if (rc)
      return -1;
  }
  return check_operands(o, ret_operands, err);
}

static void help_row(const struct option *row, FILE *to)
{
  struct buf left CLEANUP(buf_release) = BUF_INIT(512);
  if (row->letter)
    buf_printf(&left, "-%c, ", row->letter);
  buf_printf(&left, "--%s", row->name);
  if (row->type != OPTION_FLAG && row->choices && !row->argument) {
    for (int i = 0, first = 1; row->choices[i]; i++)
      if (row->choices[i][0]) {
        buf_printf(&left, "%c%s", first ? ' ' : '|', row->choices[i]);
        first = 0;
      }
  } else if (row->type != OPTION_FLAG) {
    buf_printf(&left, " %s", row->argument ? row->argument : "VALUE");
  }
  if (left.length >= HELP_COLUMN - 2)
    fprintf(to, "  %s\n%*s%s\n", buf_str(&left), HELP_COLUMN + 2, "", row->help);
  else
    fprintf(to, "  %-*s%s\n", HELP_COLUMN, buf_str(&left), row->help);
}

void options_help(const struct options *o, FILE *to)
{
  fprintf(to, "%s\n\nUsage: drover %s %s\n", o->summary, o->name, o->usage);
  if (o->row_count)
    fputs("\nOptions:\n", to);
  for (size_t i = 0; i < o->row_count; i++)
    help_row(&o->rows[i], to);
  if (o->details)
    fprintf(to, "\n%s", o->details);
  if (o->examples)
    fprintf(to, "\nExamples:\n%s", o->examples);
}
