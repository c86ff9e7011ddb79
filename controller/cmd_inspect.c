// SPDX-License-Identifier: Apache-2.0
// drover digest, verify, info: what only reads.
#include "base/cleanup.h"
#include "controller/commands.h"
#include "controller/ends_options.h"

struct inspect_args {
  struct ends_options common;
  int format, format_b; // enum disk_format
};

#define AT(member) offsetof(struct inspect_args, member)

static const struct option rows[] = {
    {"from-format", 0, OPTION_CHOICE, AT(format), .argument = "FORMAT",
     .choices = disk_format_names, .help = "format of SRC; default by suffix, else by looking"},
    ENDS_ROWS(inspect_args),
};

static const struct option verify_rows[] = {
    {"format-a", 0, OPTION_CHOICE, AT(format), .argument = "FORMAT", .choices = disk_format_names,
     .help = "format of A; default by suffix, else by looking"},
    {"format-b", 0, OPTION_CHOICE, AT(format_b), .argument = "FORMAT", .choices = disk_format_names,
     .help = "format of B"},
    ENDS_ROWS(inspect_args),
};

struct inspect {
  struct options options;
  int (*run)(const struct mover_spec *s, const struct mover_talk *talk);
};

static int fill(const struct inspect_args *a, const struct option_values *ends,
                struct mover_spec *s, struct err *err)
{
  if (ends_source(&a->common, ends->items[0], a->format, &s->source, err) ||
      ends_complete(&a->common, s, err))
    return -1;
  if (ends->count == 1) {
    s->target.null = true;
    return 0;
  }
  return ends_source(&a->common, ends->items[1], a->format_b, &s->target, err);
}

static int run(const struct inspect *what, const struct inspect_args *a,
               const struct option_values *ends)
{
  struct mover_spec s CLEANUP(mover_spec_release) = {0};
  struct mover_talk talk = ends_talk(&a->common);
  struct err err = ERR_INIT;
  if (fill(a, ends, &s, &err))
    return mover_refuse(what->options.name, &s, &talk, &err);
  return what->run(&s, &talk);
}

static int inspect(const struct inspect *what, int argc, char **argv)
{
  struct inspect_args a = {0};
  struct option_values ends CLEANUP(option_values_release) = {0};
  struct err err = ERR_INIT;
  int rc = options_parse(&what->options, argc, argv, &a, &ends, &err);
  int status = rc < 0 ? command_failed(what->options.name, &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED)
    status = run(what, &a, &ends);
  option_values_release(&a.common.ends.backing);
  return status;
}

int cmd_digest(int argc, char **argv)
{
  static const struct inspect what = {
      .options = {.name = "digest",
                  .usage = "[options] SRC",
                  .summary =
                      "Prints the content digest of a disk: the same for the same content in "
                      "any format.",
                  OPTIONS_ROWS(rows),
                  .operands_min = 1,
                  .operands_max = 1,
                  .details = ends_help,
                  .examples = "  drover digest disk.qcow2\n"
                              "  drover digest s3://images/vm.qcow2\n"},
      .run = mover_digest,
  };
  return inspect(&what, argc, argv);
}

int cmd_verify(int argc, char **argv)
{
  static const struct inspect what = {
      .options = {.name = "verify",
                  .usage = "[options] A B",
                  .summary =
                      "Compares what guests see of two disks, whatever their formats. Status "
                      "0: equal, 1: they\ndiffer (the first differing byte is named).",
                  OPTIONS_ROWS(verify_rows),
                  .operands_min = 2,
                  .operands_max = 2,
                  .details = ends_help,
                  .examples = "  drover verify disk.raw s3://images/disk.qcow2\n"},
      .run = mover_verify,
  };
  return inspect(&what, argc, argv);
}

int cmd_info(int argc, char **argv)
{
  static const struct inspect what = {
      .options = {.name = "info",
                  .usage = "[options] SRC",
                  .summary = "Says what a disk image is: format, sizes, data, backing file. Files "
                             "that it leads to are\nnot opened unless --backing allows them.",
                  OPTIONS_ROWS(rows),
                  .operands_min = 1,
                  .operands_max = 1,
                  .details = ends_help,
                  .examples = "  drover info disk.qcow2\n"
                              "  drover info -o json nbd://host/export\n"},
      .run = mover_info,
  };
  return inspect(&what, argc, argv);
}
