// SPDX-License-Identifier: Apache-2.0
// /1.0/instances/NAME/files?path=: the daemon opens the path from inside the instance's own root,
// running or not, so a symbolic link in there leads nowhere else. Of a VM only a running one with
// the agent answers.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

static int request_files(struct lxd *l, const char *name, const char *path,
                         struct http_request *request, struct http_response *ret, struct err *err)
{
  struct buf url CLEANUP(buf_release) = BUF_INIT(2 * LXD_PATH_MAX);
  cleanup_free char *instance = lxd_instance_path(name, "/files?path=");
  if (!instance)
    return lxd_no_memory(err);
  if (path[0] != '/' || strlen(path) > 1024)
    return err_set(err, ERR_INVALID, "'%.80s' is no absolute path", path);
  buf_adds(&url, l->origin);
  buf_adds(&url, instance);
  buf_add_escaped(&url, path, "/");
  if (!buf_ok(&url))
    return lxd_no_memory(err);
  request->url = buf_str(&url);
  request->idle_timeout_ms = l->call_ms;
  request->no_redirects = true;
  if (http_perform(l->session, request, ret, err) != 0)
    return -1;
  if (ret->status / 100 == 2)
    return 0;
  if (ret->status == 404)
    return err_set(err, ERR_NOT_FOUND, "there is no %s in instance '%s', or not the folder of it",
                   path, name);
  char what[200];
  snprintf(what, sizeof(what), "%s of a file in '%s'", request->method, name);
  return lxd_status_error(ret, what, err);
}

static const char *type_name(enum lxd_file type)
{
  return type == LXD_DIRECTORY ? "directory" : "file";
}

int lxd_file_put(struct lxd *l, const char *name, const char *path, enum lxd_file type, int mode,
                 const void *bytes, size_t length, struct err *err)
{
  char digits[16];
  struct http_response response CLEANUP(http_response_release) = {0};
  snprintf(digits, sizeof(digits), "0%03o", (unsigned)mode & 07777);
  const char *kind = type_name(type); // Incus reads headers of its own name
  const struct http_header headers[] = {
      {"Content-Type", "application/octet-stream"},
      {"X-LXD-type", kind},
      {"X-LXD-mode", digits},
      {"X-LXD-uid", "0"},
      {"X-LXD-gid", "0"},
      {"X-LXD-write", "overwrite"},
      {"X-Incus-type", kind},
      {"X-Incus-mode", digits},
      {"X-Incus-uid", "0"},
      {"X-Incus-gid", "0"},
      {"X-Incus-write", "overwrite"},
      {NULL, NULL},
  };
  struct http_request request = {.method = "POST",
                                 .headers = headers,
                                 .body = length ? bytes : NULL,
                                 .body_length = bytes ? length : 0};
  return request_files(l, name, path, &request, &response, err);
}

static enum lxd_file type_of(const struct http_response *r)
{
  const char *type = http_response_header(r, "X-LXD-type");
  if (!type)
    type = http_response_header(r, "X-Incus-type");
  if (str_eq(type, "file"))
    return LXD_FILE;
  if (str_eq(type, "symlink"))
    return LXD_LINK;
  return str_eq(type, "directory") ? LXD_DIRECTORY : LXD_OTHER;
}

int lxd_file_get(struct lxd *l, const char *name, const char *path, enum lxd_file *ret_type,
                 struct buf *ret, size_t max, struct err *err)
{
  struct http_response response CLEANUP(http_response_release) = {0};
  struct http_request request = {.method = "GET", .body_max = max};
  if (request_files(l, name, path, &request, &response, err) != 0)
    return -1;
  *ret_type = type_of(&response);
  if (ret) {
    *ret = response.body;
    response.body = (struct buf){0};
  }
  return 0;
}

int lxd_file_remove(struct lxd *l, const char *name, const char *path, struct err *err)
{
  struct http_response response CLEANUP(http_response_release) = {0};
  struct http_request request = {.method = "DELETE"};
  return request_files(l, name, path, &request, &response, err);
}
