// SPDX-License-Identifier: Apache-2.0
// The program: one table of commands.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/options.h"
#include "base/str.h"
#include "controller/commands.h"
#include "controller/state_command.h"

static const struct {
  const char *name, *help;
  int (*run)(int argc, char **argv);
} commands[] = {
    {"controller", "runs the operator on a Kubernetes cluster", cmd_controller},
    {"copy", "copies one disk from any end to any end", cmd_copy},
    {"digest", "prints the content digest of a disk", cmd_digest},
    {"verify", "compares what guests see of two disks", cmd_verify},
    {"info", "says what a disk image is", cmd_info},
    {"run", "runs the operator on manifests, without a cluster", cmd_run},
    {"get", "lists objects, of such a run or of a cluster", cmd_get},
    {"describe", "says all about one of them", cmd_describe},
    {"watch", "shows the progress of migrations", cmd_watch},
    {"cancel", "cancels a migration", cmd_cancel},
    {"retry", "asks a failed migration for another try", cmd_retry},
    {"suspend", "pauses an object, or lets it go on", cmd_suspend},
    {"delete", "deletes objects and what they left half-made", cmd_delete},
    {"list", "lists the machines that a provider has", cmd_list},
    {"start", "starts clones", cmd_start},
    {"stop", "stops clones", cmd_stop},
    {"scale", "says how many clones a set shall have", cmd_scale},
    {"exec", "runs a command inside a clone", cmd_exec},
    {"console", "attaches the terminal to a clone", cmd_console},
    {"cp", "copies a file into a clone or out of it", cmd_cp},
    {"snapshot", "takes, lists and removes snapshots of a clone", cmd_snapshot},
    {"rollback", "gives a clone back what a snapshot held", cmd_rollback},
    {"version", "prints the version", cmd_version},
};

int command_failed(const char *name, const struct err *err)
{
  fprintf(stderr, "drover %s: %s\n", name, err->message);
  return err->kind == ERR_INVALID ? EXIT_WRONG_USE : EXIT_FAILED;
}

int cmd_version(int argc, char **argv)
{
  static const struct options options = {.name = "version",
                                         .usage = "",
                                         .summary = "Prints the version.",
                                         .examples = "  drover version\n"};
  struct err err = ERR_INIT;
  int rc = options_parse(&options, argc, argv, NULL, NULL, &err);
  if (rc < 0)
    return command_failed("version", &err);
  if (rc == OPTIONS_PARSED)
    printf("drover %s\n", DROVER_VERSION);
  return EXIT_DONE;
}

static void help(FILE *to)
{
  fputs("drover moves virtual machines and their disks.\n\n"
        "Usage: drover COMMAND [options] ...\n\nCommands:\n",
        to);
  for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
    fprintf(to, "  %-12s%s\n", commands[i].name, commands[i].help);
  fputs("\nFrom 'get' to 'rollback' they work on the state file of 'drover run', with --kubeconfig "
        "or\n"
        "--context on a cluster; called as kubectl-drover ('kubectl drover get clones'), on the\n"
        "cluster that kubectl would take.\n",
        to);
  fputs("\n'drover COMMAND --help' says more. Exit status: 0 done, 1 what was asked about is not "
        "so,\n2 wrong use, 3 failed, 130 interrupted.\n",
        to);
}

static int unknown_command(const char *name)
{
  const char *names[ARRAY_SIZE(commands)];
  for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
    names[i] = commands[i].name;
  const char *nearest = options_nearest(name, names, ARRAY_SIZE(commands));
  fprintf(stderr, "drover: unknown command '%s'%s%s%s\n", name, nearest ? "; did you mean '" : "",
          nearest ? nearest : "", nearest ? "'?" : "; see 'drover --help'");
  return EXIT_WRONG_USE;
}

int main(int argc, char **argv)
{
  signal(SIGPIPE, SIG_IGN);
  if (argc < 2) {
    help(stderr);
    return EXIT_WRONG_USE;
  }
  if (str_eq(argv[1], "--help") || str_eq(argv[1], "-h") || str_eq(argv[1], "help")) {
    help(stdout);
    return EXIT_DONE;
  }
  if (str_eq(argv[1], "--version"))
    argv[1] = (char[]){"version"};
  if (str_eq(program_invocation_short_name, "kubectl-drover")) // how kubectl runs a plug-in
    state_prefer_cluster();
  for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
    if (str_eq(commands[i].name, argv[1]))
      return commands[i].run(argc - 1, argv + 1);
  return unknown_command(argv[1]);
}
