// SPDX-License-Identifier: Apache-2.0
// drover cp, snapshot, rollback, list: on one clone, and on what a provider has.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/machine_command.h"
#include "controller/text_table.h"

struct arguments {
  struct state_arguments common;
  bool list, remove;
};

typedef int (*work_fn)(const struct arguments *a, const struct option_values *operands,
                       struct err *err);

static int command(const struct options *options, work_fn work, int argc, char **argv)
{
  struct arguments a = {0};
  struct option_values operands = {0};
  struct err err = ERR_INIT;
  int rc = state_parse(options, argc, argv, &a, &a.common, &operands, &err);
  int status = rc < 0 ? command_failed(options->name, &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED) {
    log_init(LOG_FORMAT_TEXT, LOG_LEVEL_OFF);
    if (work(&a, &operands, &err) != 0)
      status = machine_failed(options->name, &err);
  }
  state_release(&a.common);
  option_values_release(&operands);
  return status;
}

static const struct option state_rows[] = {WHERE_OPTIONS(arguments)};

// ---- cp -------------------------------------------------------------------------------------

static const struct options cp_options = {
    .name = "cp",
    .usage = "FILE CLONE:PATH | CLONE:PATH FILE [options]",
    .summary = "Copies one file into a clone or out of it ('-' is standard input or output).",
    OPTIONS_ROWS(state_rows),
    .operands_min = 2,
    .operands_max = 2,
    .examples = "  drover cp app.conf web-0:/etc/app.conf\n"
                "  drover cp web-0:/var/log/syslog -\n"};

// CLONE:/PATH: NULL when that is not its form. *ret_path points into operand.
static char *clone_part(const char *operand, const char **ret_path)
{
  const char *colon = strchr(operand, ':');
  if (!colon || colon[1] != '/' || colon == operand)
    return NULL;
  *ret_path = colon + 1;
  return strndup(operand, (size_t)(colon - operand));
}

static int read_local(const char *path, struct buf *into, int *ret_mode, struct err *err)
{
  struct stat st;
  bool standard = str_eq(path, "-");
  cleanup_close int fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
  char chunk[65536];
  if (fd < 0 || fstat(fd, &st) != 0)
    return err_errno(err, errno, "open %s", path);
  if (S_ISDIR(st.st_mode))
    return err_set(err, ERR_INVALID, "%s is a folder; one file at a time is copied", path);
  *ret_mode = standard ? 0644 : (int)(st.st_mode & 0777);
  for (ssize_t n; (n = read(fd, chunk, sizeof(chunk))) != 0;) {
    if (n < 0)
      return err_errno(err, errno, "read %s", path);
    buf_add(into, chunk, (size_t)n);
  }
  return buf_ok(into)
             ? 0
             : err_set(err, ERR_LIMIT, "%s is larger than %lld bytes", path, CLONE_FILE_BYTES_MAX);
}

static int write_local(const char *path, const void *bytes, size_t length, struct err *err)
{
  bool standard = str_eq(path, "-");
  FILE *f = standard ? stdout : fopen(path, "we");
  if (!f)
    return err_errno(err, errno, "open %s", path);
  bool good = fwrite(bytes, 1, length, f) == length;
  good = (standard ? fflush(f) : fclose(f)) == 0 && good;
  return good ? 0 : err_errno(err, errno, "write %s", path);
}

static int push(const struct arguments *a, const char *file, const char *clone, const char *path,
                struct err *err)
{
  struct machine m CLEANUP(machine_close) = {0};
  struct buf bytes CLEANUP(buf_release) = BUF_INIT(CLONE_FILE_BYTES_MAX);
  int mode = 0;
  if (read_local(file, &bytes, &mode, err) != 0 || machine_open(&m, &a->common, clone, err) != 0)
    return -1;
  return provider_push(m.access.handle, m.id, path, mode, buf_str(&bytes), bytes.length, err);
}

static int pull(const struct arguments *a, const char *clone, const char *path, const char *file,
                struct err *err)
{
  struct machine m CLEANUP(machine_close) = {0};
  cleanup_free void *bytes = NULL;
  size_t length = 0;
  if (machine_open(&m, &a->common, clone, err) != 0 ||
      provider_pull(m.access.handle, m.id, path, &bytes, &length, err) != 0)
    return -1;
  return write_local(file, bytes, length, err);
}

static int cp(const struct arguments *a, const struct option_values *operands, struct err *err)
{
  const char *from_path = NULL, *to_path = NULL;
  cleanup_free char *from = clone_part(operands->items[0], &from_path);
  cleanup_free char *to = clone_part(operands->items[1], &to_path);
  if (!from == !to)
    return err_set(err, ERR_INVALID, "one of the two must be CLONE:/PATH, the other a file here");
  return to ? push(a, operands->items[0], to, to_path, err)
            : pull(a, from, from_path, operands->items[1], err);
}

int cmd_cp(int argc, char **argv)
{
  return command(&cp_options, cp, argc, argv);
}

// ---- snapshots ------------------------------------------------------------------------------

static const struct option snapshot_rows[] = {
    WHERE_OPTIONS(arguments),
    {"list", 'l', OPTION_FLAG, offsetof(struct arguments, list), .help = "list those of the clone"},
    {"delete", 0, OPTION_FLAG, offsetof(struct arguments, remove), .help = "remove that one"},
};

static const struct options snapshot_options = {
    .name = "snapshot",
    .usage = "CLONE NAME | CLONE --list | CLONE NAME --delete [options]",
    .summary = "Takes a snapshot of a clone's disks, lists them, or removes one.",
    OPTIONS_ROWS(snapshot_rows),
    .operands_min = 1,
    .operands_max = 2,
    .examples = "  drover snapshot web-0 before-upgrade\n  drover snapshot web-0 --list\n"};

static int check_name(const char *name, struct err *err)
{
  size_t length = name ? strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;
  if (length && length <= 63 && !name[length] && name[0] != '-')
    return 0;
  return err_set(err, ERR_INVALID, "a snapshot's name has small letters, digits and dashes");
}

static int list_snapshots(struct machine *m, struct err *err)
{
  struct strings names CLEANUP(strings_release) = {0};
  if (provider_snapshots(m->access.handle, m->id, &names, err) != 0)
    return -1;
  for (size_t i = 0; i < names.count; i++)
    puts(names.items[i]);
  return 0;
}

static int snapshot(const struct arguments *a, const struct option_values *operands,
                    struct err *err)
{
  struct machine m CLEANUP(machine_close) = {0};
  const char *name = operands->count > 1 ? operands->items[1] : NULL;
  if (a->list && name)
    return err_set(err, ERR_INVALID, "--list takes no name of a snapshot");
  if (!a->list && check_name(name, err) != 0)
    return -1;
  if (machine_open(&m, &a->common, operands->items[0], err) != 0)
    return -1;
  if (a->list)
    return list_snapshots(&m, err);
  return (a->remove ? provider_snapshot_remove : provider_snapshot)(m.access.handle, m.id, name,
                                                                    err);
}

int cmd_snapshot(int argc, char **argv)
{
  return command(&snapshot_options, snapshot, argc, argv);
}

static const struct options rollback_options = {
    .name = "rollback",
    .usage = "CLONE NAME [options]",
    .summary = "Gives a clone's disks back what they held when the snapshot was taken.",
    OPTIONS_ROWS(state_rows),
    .operands_min = 2,
    .operands_max = 2,
    .examples = "  drover rollback web-0 before-upgrade\n"};

static int rollback(const struct arguments *a, const struct option_values *operands,
                    struct err *err)
{
  struct machine m CLEANUP(machine_close) = {0};
  if (check_name(operands->items[1], err) != 0 ||
      machine_open(&m, &a->common, operands->items[0], err) != 0)
    return -1;
  return provider_rollback(m.access.handle, m.id, operands->items[1], err);
}

int cmd_rollback(int argc, char **argv)
{
  return command(&rollback_options, rollback, argc, argv);
}

// ---- list -----------------------------------------------------------------------------------

static const struct options list_options = {
    .name = "list",
    .usage = "PROVIDER [vms|bases|clones] [options]",
    .summary = "Lists the machines that a provider has; those that drover made are marked.",
    OPTIONS_ROWS(state_rows),
    .operands_min = 1,
    .operands_max = 2,
    .examples = "  drover list lab\n  drover list lab clones\n"};

static bool wanted(const struct machine_seen *s, const char *what)
{
  if (!what)
    return true;
  if (str_eq(what, "clones"))
    return str_eq(s->kind, "Clone");
  if (str_eq(what, "bases"))
    return str_eq(s->kind, "Base") || str_eq(s->kind, "Template");
  return !str_eq(s->kind, "Base") && !str_eq(s->kind, "Template");
}

// INSTALLATION/NAMESPACE/NAME/UID/HASH: what people know it by.
static char *object_of_mark(const char *owner)
{
  const char *ns = owner ? strchr(owner, '/') : NULL;
  const char *name = ns ? strchr(ns + 1, '/') : NULL;
  const char *end = name ? strchr(name + 1, '/') : NULL;
  return end ? strndup(ns + 1, (size_t)(end - ns - 1)) : str_dup("");
}

static void add_row(struct text_table *t, const char *const cells[5])
{
  for (size_t i = 0; i < t->columns; i++)
    text_table_add(t, cells[i]);
}

static int list(const struct arguments *a, const struct option_values *operands, struct err *err)
{
  struct machine m CLEANUP(machine_close) = {0};
  struct machines all CLEANUP(machines_release) = {0};
  const char *what = operands->count > 1 ? operands->items[1] : NULL;
  if (what && !str_eq(what, "vms") && !str_eq(what, "bases") && !str_eq(what, "clones"))
    return err_set(err, ERR_INVALID, "'%s' is none of vms, bases, clones", what);
  if (machine_open_provider(&m, &a->common, operands->items[0], err) != 0 ||
      provider_machines(m.access.handle, &all, err) != 0)
    return -1;
  struct text_table t CLEANUP(text_table_release) = {.columns = 5};
  add_row(&t, (const char *[]){"NAME", "KIND", "STATE", "OBJECT", "ID"});
  const struct machine_seen *items = all.items.items;
  for (size_t i = 0; i < all.items.count; i++) {
    cleanup_free char *object = object_of_mark(items[i].owner);
    if (wanted(&items[i], what))
      add_row(&t, (const char *[]){items[i].name, items[i].kind, vm_power_names[items[i].power],
                                   object, items[i].id});
  }
  text_table_print(&t, 0, stdout);
  return 0;
}

int cmd_list(int argc, char **argv)
{
  return command(&list_options, list, argc, argv);
}
