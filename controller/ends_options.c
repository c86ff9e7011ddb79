// SPDX-License-Identifier: Apache-2.0
#include "controller/ends_options.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

const char *const ends_output_names[] = {"text", "json", NULL};

const char ends_help[] =
    "Ends:\n"
    "  PATH, file:PATH               an image file or block device\n"
    "  nbd://HOST[:PORT]/EXPORT      NBD; nbd+unix:///EXPORT?socket=PATH; nbds:// over TLS\n"
    "  s3://BUCKET/KEY               S3\n"
    "  http://..., https://...       ranged GET to read, PUT to write\n"
    "  nfs://SERVER/EXPORT/PATH      NFS; '//' after EXPORT where it is not the image's folder\n"
    "  ssh://[USER@]HOST/PATH        a file or device on another host, through qemu-nbd there\n"
    "  null:                         nothing\n"
    "  pattern:SIZE[,seed=N][,data=PERCENT]\n"
    "                                reproducible data\n"
    "Credentials: --credentials FILE, else AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else the\n"
    "shared credentials file (AWS_SHARED_CREDENTIALS_FILE, AWS_PROFILE).\n";

int ends_source(const struct ends_options *o, const char *text, int format, struct mover_end *ret,
                struct err *err)
{
  struct mover_end_options ends = o->ends;
  ends.format = format;
  return mover_end_parse(text, &ends, ret, err);
}

int ends_target(const struct ends_options *o, const char *text, int format, bool overwrite,
                struct mover_end *ret, struct err *err)
{
  struct mover_end_options ends = o->ends;
  ends.format = format;
  ends.target = true;
  ends.overwrite = overwrite;
  return mover_end_parse(text, &ends, ret, err);
}

// The same for each run on this host, so that what a killed one left is found and replaced by the
// next.
static char *owner_by_hand(void)
{
  char host[65] = "";
  gethostname(host, sizeof host - 1);
  return str_printf("manual/%s/%u/copy", *host ? host : "host", (unsigned)getuid());
}

static bool takes_certificate(const struct mover_end *e)
{
  return e->reach && e->reach->tls;
}

int ends_complete(const struct ends_options *o, struct mover_spec *s, struct err *err)
{
  const struct mover_end_options *e = &o->ends;
  if ((e->client_cert_file || e->client_key_file) && !takes_certificate(&s->source) &&
      !takes_certificate(&s->target))
    return err_set(err, ERR_INVALID, "--client-cert and --client-key are for nbds:// alone");
  s->version = 1;
  s->lanes = o->lanes;
  s->owner = owner_by_hand();
  s->expected_sha256 = str_dup(o->sha256);
  if (!s->owner || (o->sha256 && !s->expected_sha256))
    return err_set(err, ERR_NO_MEMORY, "no memory for the command");
  if (o->sha256 && strspn(o->sha256, "0123456789abcdef") != 64)
    return err_set(err, ERR_INVALID, "--source-sha256: not 64 lower case hexadecimal digits");
  return 0;
}

struct mover_talk ends_talk(const struct ends_options *o)
{
  return (struct mover_talk){.progress = o->progress, .json_result = o->output == 1};
}
