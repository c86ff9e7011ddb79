// SPDX-License-Identifier: Apache-2.0
#include "crds/imagestore.h"

#include "crds/tables_internal.h"

static const char *const access_names[] = {"ReadWrite", "ReadOnly", NULL};

// ---- the four places ------------------------------------------------------------------------

static bool prefix_is_relative(const void *object)
{
  const struct imagestore_s3 *s3 = object;
  return !pattern_matches(BAD_KEY_PATTERN, s3->prefix);
}

static const struct rule s3_rules[] = {
    {"prefix must be relative, without empty, '.' or '..' parts", prefix_is_relative},
    {NULL, NULL},
};

static const struct field s3_fields[] = {
    {"endpoint", FIELD_STRING, AT(imagestore_s3, endpoint), .required = true, .min = 1, .max = 512,
     .pattern = URL_PATTERN, .help = "URL of the server, such as https://s3.example.org:9000."},
    {"bucket", FIELD_STRING, AT(imagestore_s3, bucket), .required = true, .min = 3, .max = 63,
     .pattern = "^[a-z0-9][a-z0-9.-]*[a-z0-9]$", .help = "Bucket, which must exist."},
    {"region", FIELD_STRING, AT(imagestore_s3, region), .min = 1, .max = 64,
     .pattern = "^[A-Za-z0-9_-]+$", .fallback = "\"us-east-1\"",
     .help = "Region that requests are signed for."},
    {"prefix", FIELD_STRING, AT(imagestore_s3, prefix), .min = 1, .max = LIMIT_KEY_BYTES,
     .pattern = LINE_PATTERN, .help = "Folder in the bucket that everything is kept under."},
    {"pathStyle", FIELD_BOOL, AT(imagestore_s3, path_style), .fallback = "true",
     .help = "Names the bucket in the path (true) or in the host name (false)."},
};
static const struct table s3_table = TABLE_WITH_RULES(struct imagestore_s3, s3_fields, s3_rules);

static bool url_is_straight(const void *object)
{
  const struct imagestore_http *http = object;
  return !pattern_matches(BAD_PATH_PATTERN, http->url);
}

static const struct rule http_rules[] = {
    {"url must not hold '.' or '..' parts", url_is_straight},
    {NULL, NULL},
};

static const struct field http_fields[] = {
    {"url", FIELD_STRING, AT(imagestore_http, url), .required = true, .min = 1,
     .max = LIMIT_PATH_BYTES, .pattern = URL_PATTERN,
     .help = "URL of a folder that answers ranged GET and, to write, PUT and DELETE; no "
             "credentials or query in it."},
};
static const struct table http_table =
    TABLE_WITH_RULES(struct imagestore_http, http_fields, http_rules);

static bool nfs_is_straight(const void *object)
{
  const struct imagestore_nfs *nfs = object;
  return !pattern_matches(BAD_PATH_PATTERN, nfs->export_path) &&
         !pattern_matches(BAD_KEY_PATTERN, nfs->path);
}

static const struct rule nfs_rules[] = {
    {"export and path must not hold '.' or '..' parts, and path is relative to export",
     nfs_is_straight},
    {NULL, NULL},
};

static const struct field nfs_fields[] = {
    {"server", FIELD_STRING, AT(imagestore_nfs, server), .required = true, .min = 1,
     .max = LIMIT_NAME_BYTES, .pattern = HOST_PATTERN, .help = "Name or address of the server."},
    {"export", FIELD_STRING, AT(imagestore_nfs, export_path), .required = true, .min = 1,
     .max = LIMIT_PATH_BYTES, .pattern = "^/[^[:cntrl:]]*$",
     .help = "What the server exports, such as /srv/images."},
    {"path", FIELD_STRING, AT(imagestore_nfs, path), .min = 1, .max = LIMIT_KEY_BYTES,
     .pattern = LINE_PATTERN, .help = "Folder below the export that everything is kept under."},
    {"uid", FIELD_INT, AT(imagestore_nfs, uid), .fallback = "0", .min = 0, .max = 4294967294,
     .help = "User id that files are read and written as."},
    {"gid", FIELD_INT, AT(imagestore_nfs, gid), .fallback = "0", .min = 0, .max = 4294967294,
     .help = "Group id that files are read and written as."},
    {"version", FIELD_INT, AT(imagestore_nfs, version), .fallback = "3", .min = 3, .max = 3,
     .help = "Version of the protocol."},
    {"port", FIELD_INT, AT(imagestore_nfs, port), .min = 1, .max = 65535,
     .help = "Port of the NFS service; by default the server's portmapper tells."},
    {"mountPort", FIELD_INT, AT(imagestore_nfs, mount_port), .min = 1, .max = 65535,
     .help = "Port of the mount service; by default the server's portmapper tells."},
};
static const struct table nfs_table =
    TABLE_WITH_RULES(struct imagestore_nfs, nfs_fields, nfs_rules);

static bool file_is_straight(const void *object)
{
  const struct imagestore_file *file = object;
  return !pattern_matches(BAD_PATH_PATTERN, file->path);
}

static const struct rule file_rules[] = {
    {"path must not hold '.' or '..' parts", file_is_straight},
    {NULL, NULL},
};

static const struct field file_fields[] = {
    {"path", FIELD_STRING, AT(imagestore_file, path), .required = true, .min = 1,
     .max = LIMIT_PATH_BYTES, .pattern = "^/[^[:cntrl:]]*$",
     .help = "Absolute path of a folder where drover runs. A controller in a cluster refuses it "
             "unless --allow-local names it."},
};
static const struct table file_table =
    TABLE_WITH_RULES(struct imagestore_file, file_fields, file_rules);

// ---- spec -----------------------------------------------------------------------------------

static bool exactly_one_place(const void *object)
{
  const struct imagestore_spec *spec = object;
  return !!spec->s3 + !!spec->http + !!spec->nfs + !!spec->file == 1;
}

static bool credentials_fit(const void *object)
{
  const struct imagestore_spec *spec = object;
  return (!spec->credentials && !spec->tls) || spec->s3 || spec->http;
}

static const struct rule spec_rules[] = {
    {"exactly one of s3, http, nfs and file must be given", exactly_one_place},
    {"credentialsSecretRef and tls are for s3 and http only", credentials_fit},
    {NULL, NULL},
};

static const struct field spec_fields[] = {
    {"s3", FIELD_POINTER, AT(imagestore_spec, s3), &s3_table, .help = "A bucket of an S3 server."},
    {"http", FIELD_POINTER, AT(imagestore_spec, http), &http_table,
     .help = "A folder of a web server."},
    {"nfs", FIELD_POINTER, AT(imagestore_spec, nfs), &nfs_table,
     .help = "A folder of an NFS server, reached without mounting it."},
    {"file", FIELD_POINTER, AT(imagestore_spec, file), &file_table,
     .help = "A folder where drover runs."},
    {"access", FIELD_ENUM, AT(imagestore_spec, access), .names = access_names,
     .fallback = "\"ReadWrite\"",
     .help = "ReadOnly: images are taken from here but never put, and no probe is written."},
    {"probeInterval", FIELD_DURATION, AT(imagestore_spec, probe_interval_ms), .fallback = "\"5m\"",
     .min = 10000, .max = 86400000,
     .help = "Time between two looks at whether the store can be used."},
    {"credentialsSecretRef", FIELD_POINTER, AT(imagestore_spec, credentials), &name_ref_table,
     .help = "Secret. S3: accessKeyID, secretAccessKey and, if any, sessionToken. HTTP: username "
             "and password, or token."},
    {"tls", FIELD_POINTER, AT(imagestore_spec, tls), &tls_spec_table,
     .help = "Which server certificates are trusted; by default those of public authorities."},
    {"allowedNamespaces", FIELD_OBJECT, AT(imagestore_spec, allowed_namespaces),
     &allowed_namespaces_table, .help = "Which namespaces may refer to this store."},
    {"suspend", FIELD_BOOL, AT(imagestore_spec, suspend),
     .help = "Stops looking after this store and begins no new work on it."},
};
const struct table imagestore_spec_table =
    TABLE_WITH_RULES(struct imagestore_spec, spec_fields, spec_rules);

// ---- status ---------------------------------------------------------------------------------

static const struct field status_fields[] = {
    {"observedGeneration", FIELD_INT, AT(imagestore_status, observed_generation), .fallback = "-1",
     .help = "The metadata.generation that status speaks of."},
    {"location", FIELD_STRING, AT(imagestore_status, location),
     .help = "What and where it is, for people."},
    {"freeBytes", FIELD_INT, AT(imagestore_status, free_bytes),
     .help = "Free space in bytes, where the store knows."},
    {"dependents", FIELD_INT, AT(imagestore_status, dependents),
     .help = "How many objects refer to this one and are not finished."},
    {"lastProbeTime", FIELD_STRING, AT(imagestore_status, last_probe_time),
     .help = "When it was looked at last, RFC 3339."},
    {"conditions", FIELD_LIST, AT(imagestore_status, conditions), &condition_table,
     .help = "Ready, Reconciling and Stalled."},
};
const struct table imagestore_status_table = TABLE(struct imagestore_status, status_fields);
