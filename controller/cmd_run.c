// SPDX-License-Identifier: Apache-2.0
// drover run: the operator on manifests, without a cluster. Applies them to the state file, works
// on everything in it, shows the progress, ends when what was named has ended.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "controller/drive.h"
#include "controller/following.h"
#include "controller/progress_view.h"
#include "controller/state_command.h"
#include "crds/manifest.h"

struct arguments {
  struct state_arguments common;
  struct option_values files;
  bool watch, retry, verbose;
  int output;
};

static const char *const outputs[] = {"table", "json", NULL};

static const struct option rows[] = {
    {"filename", 'f', OPTION_LIST, offsetof(struct arguments, files), .argument = "FILE",
     .help = "manifests: a file, a folder, or - for standard input; may be repeated"},
    STATE_OPTION(arguments),
    NAMESPACE_OPTION(arguments),
    {"watch", 'w', OPTION_FLAG, offsetof(struct arguments, watch),
     .help = "stay and go on working when all has ended"},
    {"retry", 0, OPTION_FLAG, offsetof(struct arguments, retry),
     .help = "ask the named migrations that have failed for another try"},
    {"output", 'o', OPTION_CHOICE, offsetof(struct arguments, output), .argument = "FORMAT",
     .help = "table (for people) or json (one object a line)", .choices = outputs},
    {"verbose", 'v', OPTION_FLAG, offsetof(struct arguments, verbose),
     .help = "log what the operator does, on standard error"},
};

static const struct options options = {
    .name = "run",
    .usage = "-f FILE|DIR... [options]",
    .summary = "Runs the operator without a cluster: applies manifests (Provider, ImageStore,\n"
               "VMMigration, Secret, ConfigMap) to a state file and works until they have ended.\n"
               "Without -f it goes on with what the state file holds.",
    OPTIONS_ROWS(rows),
    .details = "Interrupted or killed, the same command goes on where it was. Manifests that are\n"
               "no longer given stay in the state: 'drover delete' removes them.\n"
               "Exit status: 0 all succeeded, 2 wrong use, 3 something failed, 130 interrupted.\n",
    .examples =
        "  drover run -f migrate.yaml\n"
        "  drover run -f providers/ -f vm1.yaml --state /var/lib/drover.db --output json\n"};

// ---- manifests ------------------------------------------------------------------------------

DEFINE_CLEANUP(store_free, struct object_store *)

static int read_manifests(const struct arguments *a, struct manifests *ret, struct err *err)
{
  for (size_t i = 0; i < a->files.count; i++)
    if (manifests_read(a->files.items[i], ret, err) != 0)
      return -1;
  if (a->files.count && ret->count == 0)
    return err_set(err, ERR_INVALID, "there is no manifest in %s", a->files.items[0]);
  return 0;
}

static int apply_one(struct following *r, const struct manifest *m, const char *ns, struct err *err)
{
  static const char *const words[] = {[APPLIED_UNCHANGED] = "unchanged",
                                      [APPLIED_CREATED] = "created",
                                      [APPLIED_CONFIGURED] = "configured"};
  struct store_applied_object applied;
  if (store_sqlite_apply(r->store, m->json, ns, &applied, err) != 0)
    return err_prefix(err, "%s:%zu", m->file, m->line);
  const char *kind =
      applied.is_object ? object_kind_info(applied.key.kind)->singular : applied.kind;
  progress_view_say(r->view, clock_wall_ms(), "%s/%s %s", kind, applied.key.name,
                    words[applied.what]);
  return applied.is_object ? following_add(r, &applied.key, err) : 0;
}

static int apply_manifests(struct following *r, const struct manifests *m, const char *ns,
                           struct err *err)
{
  for (size_t i = 0; i < m->notes.count; i++)
    progress_view_say(r->view, clock_wall_ms(), "%s", m->notes.items[i]);
  for (size_t i = 0; i < m->count; i++)
    if (apply_one(r, &m->items[i], ns, err) != 0)
      return -1;
  return 0;
}

static int name_kind(struct following *r, enum object_kind kind, struct err *err)
{
  struct object_key *keys CLEANUP(cleanup_free_) = NULL;
  size_t count = 0;
  if (r->store->ops->list(r->store, kind, NULL, &keys, &count, err) != 0)
    return -1;
  for (size_t i = 0; i < count; i++)
    if (following_add(r, &keys[i], err) != 0)
      return -1;
  return 0;
}

// Without -f: all migrations, bases, clones and sets that are in the file.
static int name_all(struct following *r, struct err *err)
{
  static const enum object_kind all[] = {OBJECT_VM_MIGRATION, OBJECT_CLONE_BASE, OBJECT_CLONE,
                                         OBJECT_CLONE_SET};
  for (size_t i = 0; i < ARRAY_SIZE(all); i++)
    if (name_kind(r, all[i], err) != 0)
      return -1;
  return 0;
}

// ---- running --------------------------------------------------------------------------------

static void fit(struct following *r)
{
  struct winsize size;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
    progress_view_size(r->view, size.ws_col, size.ws_row);
}

static bool on_changed(void *arg, const struct object_key *key)
{
  following_changed(arg, key);
  return following_counts(arg, key);
}

// A full disk stops everything, and no object can say so.
static void tell_trouble(struct following *r)
{
  struct err err = ERR_INIT;
  if (!store_sqlite_trouble(r->store, &err))
    err.message[0] = '\0';
  if (err.message[0] && !str_eq(err.message, r->trouble))
    progress_view_say(r->view, clock_wall_ms(), "%s", err.message);
  memcpy(r->trouble, err.message, sizeof(r->trouble));
}

static bool on_tick(void *arg)
{
  struct following *r = arg;
  fit(r);
  tell_trouble(r);
  following_look(r, clock_ms(), clock_wall_ms());
  progress_view_draw(r->view, clock_ms());
  return !r->stay && following_is_over(r);
}

static void on_stopping(void *arg)
{
  struct following *r = arg;
  progress_view_say(r->view, clock_wall_ms(), "stopping; interrupt again to stop at once");
}

static int end(struct following *r, enum drive_end how, const struct err *err)
{
  progress_view_clear(r->view);
  if (how == DRIVE_FAILED)
    return command_failed("run", err);
  if (how == DRIVE_DONE)
    return following_summary(r, clock_wall_ms());
  progress_view_say(r->view, clock_wall_ms(),
                    "stopped; all is kept in the state file, and the same command goes on");
  return EXIT_INTERRUPTED;
}

static int run_store(struct following *r, const struct arguments *a, struct manifests *m)
{
  struct err err = ERR_INIT;
  if (apply_manifests(r, m, state_namespace(&a->common), &err) != 0 ||
      (!m->count && name_all(r, &err) != 0) || (a->retry && following_retry(r, &err) != 0))
    return command_failed("run", &err);
  manifests_release(m); // JSON trees are large, and some held Secrets
  malloc_trim(0);
  cleanup_free char *state = state_path(&a->common, &err);
  if (!state)
    return command_failed("run", &err);
  struct drive d = {.store = r->store,
                    .state = state,
                    .changed = on_changed,
                    .tick = on_tick,
                    .stopping = on_stopping,
                    .arg = r};
  enum drive_end how = drive(&d, &err);
  following_look(r, clock_ms(), clock_wall_ms());
  return end(r, how, &err);
}

static enum progress_mode mode_of(const struct arguments *a)
{
  if (a->output == 1)
    return PROGRESS_JSON;
  const char *terminal = getenv("TERM");
  bool capable = isatty(STDOUT_FILENO) && !str_empty(terminal) && !str_eq(terminal, "dumb");
  return capable && !a->verbose ? PROGRESS_BARS : PROGRESS_LINES;
}

static int run(const struct arguments *a)
{
  struct err err = ERR_INIT;
  struct manifests m CLEANUP(manifests_release) = {0};
  struct object_store *store CLEANUP(store_free_p) = NULL;
  struct following r CLEANUP(following_release) = {.stay = a->watch};
  if (read_manifests(a, &m, &err) != 0) {
    command_failed("run", &err);
    return EXIT_WRONG_USE; // also one that is not there, or over a limit
  }
  if (state_open(&a->common, STORE_RUN, &store, &err) != 0)
    return command_failed("run", &err);
  r.store = store;
  r.view = progress_view_new(stdout, mode_of(a));
  if (!r.view)
    return command_failed("run", &err);
  return run_store(&r, a, &m);
}

int cmd_run(int argc, char **argv)
{
  struct arguments a = {0};
  struct err err = ERR_INIT;
  int rc = options_parse(&options, argc, argv, &a, NULL, &err);
  int status = rc < 0 ? command_failed("run", &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED) {
    log_init(LOG_FORMAT_TEXT, a.verbose ? LOG_LEVEL_INFO : LOG_LEVEL_OFF);
    status = run(&a);
  }
  option_values_release(&a.files);
  return status;
}
