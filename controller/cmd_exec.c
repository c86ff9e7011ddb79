// SPDX-License-Identifier: Apache-2.0
// drover exec, console: into a clone.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/machine_command.h"

struct arguments {
  struct state_arguments common;
  bool input;
  int64_t timeout_ms;
};

static const struct option exec_rows[] = {
    WHERE_OPTIONS(arguments),
    {"stdin", 'i', OPTION_FLAG, offsetof(struct arguments, input),
     .help = "give the command what is on standard input"},
    {"timeout", 0, OPTION_DURATION, offsetof(struct arguments, timeout_ms), .argument = "TIME",
     .help = "how long it may take; default: 1m", .min = 1000, .max = 3600000},
};

static const struct options exec_options = {
    .name = "exec",
    .usage = "CLONE [options] -- COMMAND...",
    .summary = "Runs a command inside a clone and prints what it prints. No shell is in between.",
    OPTIONS_ROWS(exec_rows),
    .operands_min = 2,
    .operands_max = CLONE_ARGV_MAX,
    .details = "Exit status: that of the command; 1 also: there is no such clone or it does not\n"
               "run; 3 nothing in the clone could run it.\n",
    .examples = "  drover exec web-0 -- cat /etc/machine-id\n"
                "  drover exec web-0 -- sh -c 'uptime; df -h'\n"};

static int read_input(char **ret, struct err *err)
{
  struct buf b CLEANUP(buf_release) = BUF_INIT(LIMIT_COMMAND_OUTPUT_BYTES);
  char chunk[16384];
  for (size_t n; (n = fread(chunk, 1, sizeof(chunk), stdin)) > 0;)
    buf_add(&b, chunk, n);
  *ret = buf_ok(&b) ? buf_take(&b) : NULL;
  return *ret ? 0
              : err_set(err, ERR_LIMIT, "more than %u bytes on standard input",
                        LIMIT_COMMAND_OUTPUT_BYTES);
}

static int exec(const struct arguments *a, const struct option_values *operands)
{
  struct machine m CLEANUP(machine_close) = {0};
  struct exec_result result CLEANUP(exec_result_release) = {0};
  struct err err = ERR_INIT;
  cleanup_free char *input = NULL;
  struct exec_order order = {.argv = {(char **)operands->items + 1, operands->count - 1},
                             .timeout_ms = a->timeout_ms};
  if (machine_open(&m, &a->common, operands->items[0], &err) != 0 ||
      (a->input && read_input(&input, &err) != 0))
    return machine_failed("exec", &err);
  order.input = input;
  if (provider_exec(m.access.handle, m.id, &order, &result, &err) != 0)
    return machine_failed("exec", &err);
  if (result.output)
    fputs(result.output, stdout);
  if (result.errors)
    fputs(result.errors, stderr);
  if (result.cut)
    fprintf(stderr, "drover exec: more was printed than is shown\n");
  return (int)result.exit_status;
}

int cmd_exec(int argc, char **argv)
{
  struct arguments a = {0};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(&exec_options, argc, argv, &a, &a.common, &operands, &err);
  int status = rc < 0 ? command_failed("exec", &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED) {
    log_init(LOG_FORMAT_TEXT, LOG_LEVEL_OFF);
    status = exec(&a, &operands);
  }
  state_release(&a.common);
  option_values_release(&operands);
  return status;
}

// ---- console --------------------------------------------------------------------------------

static const struct option console_rows[] = {WHERE_OPTIONS(arguments)};

static const struct options console_options = {
    .name = "console",
    .usage = "CLONE [options]",
    .summary = "Attaches the terminal to the console of a clone.",
    OPTIONS_ROWS(console_rows),
    .operands_min = 1,
    .operands_max = 1,
    .examples = "  drover console web-0\n"};

// The program takes this process's place: the terminal is its alone.
static int console(const struct arguments *a, const char *name)
{
  struct strings argv CLEANUP(strings_release) = {0};
  struct err err = ERR_INIT;
  {
    struct machine m CLEANUP(machine_close) = {0};
    if (machine_open(&m, &a->common, name, &err) != 0 ||
        provider_console(m.access.handle, m.id, &argv, &err) != 0)
      return machine_failed("console", &err);
  }
  char **words = calloc(argv.count + 1, sizeof(*words));
  if (!words)
    return EXIT_FAILED;
  memcpy(words, argv.items, argv.count * sizeof(*words));
  execvp(words[0], words);
  err_errno(&err, errno, "run %s", words[0]);
  free(words);
  return command_failed("console", &err);
}

int cmd_console(int argc, char **argv)
{
  struct arguments a = {0};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(&console_options, argc, argv, &a, &a.common, &operands, &err);
  int status = rc < 0 ? command_failed("console", &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED) {
    log_init(LOG_FORMAT_TEXT, LOG_LEVEL_OFF);
    status = console(&a, operands.items[0]);
  }
  state_release(&a.common);
  option_values_release(&operands);
  return status;
}
