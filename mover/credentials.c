// SPDX-License-Identifier: Apache-2.0
// Credentials as other S3 tools find them. The shared credentials file is the INI file of the AWS
// tools: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html . The same form serves
// HTTP: username, password, token.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "mover/ends.h"

#define CREDENTIAL_LINE_BYTES 8192
#define CREDENTIAL_LINES_MAX  10000

static const struct {
  const char *name;     // in the file
  const char *variable; // NULL = none
  size_t offset;        // of the secret in struct storage_config
} rows[] = {
    {"aws_access_key_id", "AWS_ACCESS_KEY_ID", offsetof(struct storage_config, access_key_id)},
    {"aws_secret_access_key", "AWS_SECRET_ACCESS_KEY",
     offsetof(struct storage_config, secret_access_key)},
    {"aws_session_token", "AWS_SESSION_TOKEN", offsetof(struct storage_config, session_token)},
    {"password", NULL, offsetof(struct storage_config, password)},
    {"token", NULL, offsetof(struct storage_config, token)},
};

static char *trim(char *s)
{
  while (isspace((unsigned char)*s))
    s++;
  size_t n = strlen(s);
  while (n && isspace((unsigned char)s[n - 1]))
    s[--n] = 0;
  return s;
}

// One "name = value" of the section asked for. Names of other tools' settings are passed over.
static int take_setting(char *line, struct storage_config *c, struct err *err)
{
  char *equals = strchr(line, '=');
  if (!equals)
    return 0;
  *equals = 0;
  const char *name = trim(line);
  const char *value = trim(equals + 1);
  if (str_eq(name, "username")) {
    free(c->username);
    c->username = str_dup(value);
    return c->username ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for credentials");
  }
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    if (str_eq(rows[i].name, name) &&
        secret_set_string((struct secret *)((char *)c + rows[i].offset), value))
      return err_set(err, ERR_LIMIT, "the credential %s is too long", name);
  return 0;
}

static int read_section(FILE *f, const char *section, bool *ret_found, char *line, size_t size,
                        struct storage_config *c, struct err *err)
{
  bool inside = str_eq(section, "default"); // a file of one section may leave its name out
  for (size_t lines = 0; fgets(line, (int)size, f); lines++) {
    char *text = trim(line);
    if (lines == CREDENTIAL_LINES_MAX)
      return err_set(err, ERR_LIMIT, "more than %d lines", CREDENTIAL_LINES_MAX);
    if (*text == '#' || *text == ';' || !*text)
      continue;
    if (*text == '[') {
      text[strcspn(text, "]")] = 0;
      inside = str_eq(trim(text + 1), section);
    } else if (inside && take_setting(text, c, err)) {
      return -1;
    }
    *ret_found |= inside;
  }
  return ferror(f) ? err_errno(err, errno, "read") : 0;
}

static int read_credentials(const char *path, bool must_exist, const char *section,
                            struct storage_config *c, struct err *err)
{
  FILE *f cleanup_fclose = fopen(path, "re");
  if (!f && errno == ENOENT && !must_exist)
    return 0;
  if (!f)
    return err_errno(err, errno, "open credentials file %s", path);
  char *line = malloc(CREDENTIAL_LINE_BYTES);
  if (!line)
    return err_set(err, ERR_NO_MEMORY, "no memory for credentials");
  setvbuf(f, NULL, _IONBF, 0); // no second copy of secrets in stdio's buffer
  bool found = false;
  int rc = read_section(f, section, &found, line, CREDENTIAL_LINE_BYTES, c, err);
  explicit_bzero(line, CREDENTIAL_LINE_BYTES);
  free(line);
  if (rc)
    return err_prefix(err, "credentials file %s", path);
  if (!found && must_exist)
    return err_set(err, ERR_INVALID, "credentials file %s has no profile '%s'", path, section);
  return 0;
}

static int from_variables(struct storage_config *c, struct err *err)
{
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    const char *value = rows[i].variable ? getenv(rows[i].variable) : NULL;
    if (value && secret_set_string((struct secret *)((char *)c + rows[i].offset), value))
      return err_set(err, ERR_LIMIT, "%s is too long", rows[i].variable);
  }
  return 0;
}

int mover_credentials(const char *file, struct storage_config *c, struct err *err)
{
  const char *profile = getenv("AWS_PROFILE");
  const char *section = str_empty(profile) ? "default" : profile;
  if (file)
    return read_credentials(file, true, section, c, err);
  if (c->type != STORAGE_S3)
    return 0;
  if (str_empty(profile) && !str_empty(getenv("AWS_ACCESS_KEY_ID")))
    return from_variables(c, err);
  const char *shared = getenv("AWS_SHARED_CREDENTIALS_FILE");
  if (!str_empty(shared))
    return read_credentials(shared, true, section, c, err);
  const char *home = getenv("HOME");
  char *path cleanup_free = str_printf("%s/.aws/credentials", home ? home : "");
  if (!path)
    return err_set(err, ERR_NO_MEMORY, "no memory for credentials");
  return read_credentials(path, !str_empty(profile), section, c, err);
}
