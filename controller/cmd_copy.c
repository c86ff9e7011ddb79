// SPDX-License-Identifier: Apache-2.0
// drover copy: the mover, by hand or with a controller's document.
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/commands.h"
#include "controller/ends_options.h"

static const char *const format_names[] = {"",     "raw",     "qcow2",
                                           "vmdk", "raw.zst", NULL}; // as enum disk_format begins
static const char *const verify_names[] = {"stored", "readback", "none", NULL};

struct copy_args {
  struct ends_options common;
  int from_format; // enum disk_format
  int format;      // enum disk_format
  int verify;      // enum copy_verify
  int64_t limit_bytes_per_s;
  bool no_sparse, compress, no_object_sha256, overwrite, restart, repair;
  int vmdk_adapter; // enum vmdk_adapter
  int64_t vmdk_hardware;
  const char *spec, *secrets, *expect, *checkpoint;
};

#define AT(member) offsetof(struct copy_args, member)

static const struct option rows[] = {
    {"from-format", 0, OPTION_CHOICE, AT(from_format), .argument = "FORMAT",
     .choices = disk_format_names, .help = "format of SRC; default by the suffix, else by looking"},
    {"format", 0, OPTION_CHOICE, AT(format), .choices = format_names,
     .help = "format to write; default by the suffix"},
    {"verify", 0, OPTION_CHOICE, AT(verify), .choices = verify_names,
     .help = "stored: sums and sizes; readback: read again too"},
    {"limit", 0, OPTION_BYTES, AT(limit_bytes_per_s), .argument = "RATE",
     .help = "bytes per second, as 200M"},
    {"compress", 0, OPTION_FLAG, AT(compress), .help = "clusters of a new qcow2 with zstd"},
    {"vmdk-adapter", 0, OPTION_CHOICE, AT(vmdk_adapter), .choices = vmdk_adapter_names,
     .help = "adapter that a vmdk names; default lsilogic"},
    {"vmdk-hardware", 0, OPTION_INT, AT(vmdk_hardware), .argument = "N", .min = VMDK_HARDWARE_MIN,
     .max = VMDK_HARDWARE_MAX, .help = "hardware version that a vmdk names; default 13 (ESXi 6.5)"},
    {"no-sparse", 0, OPTION_FLAG, AT(no_sparse), .help = "write zeros out"},
    {"no-object-sha256", 0, OPTION_FLAG, AT(no_object_sha256),
     .help = "leave out the plain SHA-256 of what is stored"},
    {"overwrite", 0, OPTION_FLAG, AT(overwrite), .help = "replace what is at DST"},
    {"repair", 0, OPTION_FLAG, AT(repair),
     .help = "DST is there and damaged: write only what is not as it should be"},
    {"checkpoint", 0, OPTION_STRING, AT(checkpoint), .argument = "FILE",
     .help = "note there what is finished; the same command goes on from it"},
    {"restart", 0, OPTION_FLAG, AT(restart), .help = "start over, whatever --checkpoint says"},
    {"expect", 0, OPTION_STRING, AT(expect), .argument = "DIGEST",
     .help = "content digest that must come out"},
    {"source-sha256", 0, OPTION_STRING, AT(common.sha256), .argument = "HEX",
     .help = "SHA-256 that the bytes of SRC must have"},
    ENDS_ROWS(copy_args),
    {"spec", 0, OPTION_STRING, AT(spec), .argument = "FILE",
     .help = "everything as one JSON document; JSON lines come out"},
    {"secrets", 0, OPTION_STRING, AT(secrets), .argument = "FILE",
     .help = "with --spec: its secrets, as JSON"},
};

static const struct options options = {
    .name = "copy",
    .usage = "[options] SRC DST",
    .summary = "Copies one disk from any end to any end, and verifies it. Holes cost nothing.",
    OPTIONS_ROWS(rows),
    .operands_min = 0,
    .operands_max = 2,
    .details = ends_help,
    .examples = "  drover copy disk.qcow2 disk.raw\n"
                "  drover copy --limit 200M vm.raw s3://images/vm.qcow2 "
                "--s3-endpoint https://s3.example.net\n"
                "  drover copy https://images.example.net/base.qcow2 /dev/vg0/base\n"
                "  drover copy --repair vm.raw s3://images/vm.qcow2\n"
                "  drover copy pattern:10Gi,data=30 null:\n",
};

static int by_hand(struct copy_args *a, const struct option_values *ends, struct mover_spec *s,
                   struct err *err)
{
  if (ends->count != 2)
    return err_set(err, ERR_INVALID, "SRC and DST are needed; see 'drover copy --help'");
  if (a->restart && !a->checkpoint)
    return err_set(err, ERR_INVALID, "--restart goes with --checkpoint only");
  if (a->secrets)
    return err_set(err, ERR_INVALID, "--secrets goes with --spec only; see --credentials");
  // Killed between the final name and its own end, it finds its own work there.
  a->common.ends.unfinished = a->repair || (a->checkpoint && access(a->checkpoint, F_OK) == 0);
  if (ends_source(&a->common, ends->items[0], a->from_format, &s->source, err) ||
      ends_target(&a->common, ends->items[1], a->format, a->overwrite, &s->target, err) ||
      ends_complete(&a->common, s, err))
    return -1;
  s->verify = a->verify;
  s->bytes_per_second = a->limit_bytes_per_s;
  s->no_sparse = a->no_sparse;
  s->compress = a->compress;
  s->no_object_sha256 = a->no_object_sha256;
  s->repair = a->repair;
  s->vmdk_adapter = a->vmdk_adapter;
  s->vmdk_hardware = a->vmdk_hardware;
  s->expected_digest = str_dup(a->expect);
  s->checkpoint = str_dup(a->checkpoint);
  return mover_spec_check(s, err);
}

// The document says everything: an option beside it would be ignored, so there is none.
static int from_document(const struct copy_args *a, const struct option_values *ends,
                         struct mover_spec *s, struct err *err)
{
  if (ends->count)
    return err_set(err, ERR_INVALID, "--spec names the ends: no SRC and DST beside it");
  if (a->from_format || a->format || a->verify || a->limit_bytes_per_s || a->no_sparse ||
      a->compress || a->no_object_sha256 || a->overwrite || a->vmdk_adapter || a->vmdk_hardware ||
      a->expect || a->checkpoint || a->restart || a->repair || a->common.sha256 ||
      a->common.lanes || a->common.ends.credentials_file || a->common.ends.s3_endpoint ||
      a->common.ends.s3_region || a->common.ends.ca_file || a->common.ends.client_cert_file ||
      a->common.ends.client_key_file || a->common.ends.insecure || a->common.ends.backing.count)
    return err_set(err, ERR_INVALID, "with --spec only --secrets, --progress and --output apply");
  return mover_spec_read(a->spec, a->secrets, s, err);
}

static int run(struct copy_args *a, const struct option_values *ends)
{
  struct mover_spec s CLEANUP(mover_spec_release) = {0};
  struct err err = ERR_INIT;
  struct mover_talk talk = ends_talk(&a->common);
  if (a->spec && talk.progress == TALK_AUTO)
    talk.progress = TALK_JSON;
  talk.control = a->spec != NULL;
  talk.restart = a->restart;
  int rc = a->spec ? from_document(a, ends, &s, &err) : by_hand(a, ends, &s, &err);
  if (rc)
    return mover_refuse("copy", &s, &talk, &err);
  return mover_copy(&s, &talk);
}

int cmd_copy(int argc, char **argv)
{
  struct copy_args a = {0};
  struct option_values ends CLEANUP(option_values_release) = {0};
  struct err err = ERR_INIT;
  int rc = options_parse(&options, argc, argv, &a, &ends, &err);
  int status = rc < 0 ? command_failed("copy", &err) : EXIT_DONE;
  if (rc == OPTIONS_PARSED)
    status = run(&a, &ends);
  option_values_release(&a.common.ends.backing);
  return status;
}
