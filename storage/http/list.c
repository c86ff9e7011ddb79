// SPDX-License-Identifier: Apache-2.0
// Lists by PROPFIND with Depth 1, folder by folder (many servers refuse "infinity"): RFC 4918
// sections 9.1 and 14.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "storage/http/dav_internal.h"
#include "storage/xml_internal.h"

static void doc_free(struct web_xml_doc **d)
{
  web_xml_doc_free(*d);
}

static bool unescape(char *text)
{
  return web_unescape(text, text, strlen(text) + 1);
}

// The key that an href stands for, yours; NULL: it is not below the base URL.
static char *key_of(const struct dav *d, const struct web_xml_node *href)
{
  char *text cleanup_free = web_xml_text_dup(href);
  char *base cleanup_free = str_printf("%s/", d->path);
  char *path = text;
  char *scheme = text ? strstr(text, "://") : NULL;
  if (scheme && scheme < strchr(text, '/') + 2)
    path = strchr(scheme + 3, '/');
  if (!path || !base || !unescape(path) || !unescape(base))
    return NULL;
  return str_dup(str_after(path, base));
}

static bool is_folder(const struct web_xml_node *response)
{
  for (const struct web_xml_node *p = web_xml_child(response, "propstat"); p;
       p = web_xml_next(p, "propstat"))
    if (web_xml_child(web_xml_child(web_xml_child(p, "prop"), "resourcetype"), "collection"))
      return true;
  return false;
}

static size_t depth_of(const char *key)
{
  size_t depth = 0;
  for (; *key; key++)
    depth += *key == '/';
  return depth;
}

static int take(struct dav_walk *w, const char *asked, const char *key, bool folder,
                struct err *err)
{
  size_t length = strlen(key);
  if (folder) {
    bool whole = length == 0 || key[length - 1] == '/'; // "" is the base itself
    char *name cleanup_free = str_printf("%s%s", key, whole ? "" : "/");
    // Only what lies straight below is followed: each folder once, and no way round in a circle.
    if (!name || str_eq(name, asked) || !str_starts(name, asked) ||
        depth_of(name) != depth_of(asked) + 1)
      return name ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a list");
    if (w->folders.count == DAV_FOLDERS_MAX || depth_of(name) > DAV_DEPTH_MAX)
      return err_set(err, ERR_LIMIT, "there are too many folders, or they are too deep");
    return strings_add(&w->folders, name) < 0 ? err_set(err, ERR_NO_MEMORY, "no memory for a list")
                                              : 0;
  }
  if (!length || storage_key_is_partial(key))
    return 0;
  if (w->names->count == w->max)
    return err_set(err, ERR_LIMIT, "there are more than %zu objects", w->max);
  return strings_add(w->names, key) < 0 ? err_set(err, ERR_NO_MEMORY, "no memory for a list") : 0;
}

int dav_read_list(struct dav_walk *w, const char *asked, const struct buf *xml, struct err *err)
{
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_parse(xml->data, xml->length, err);
  if (!doc)
    return -1;
  const struct web_xml_node *root = web_xml_root(doc);
  if (!web_xml_is(root, "multistatus"))
    return err_set(err, ERR_PROTOCOL, "the server's answer is not a WebDAV list");
  for (const struct web_xml_node *n = web_xml_child(root, "response"); n;
       n = web_xml_next(n, "response")) {
    char *key cleanup_free = key_of(w->dav, web_xml_child(n, "href"));
    if (key && take(w, asked, key, is_folder(n), err) < 0)
      return -1;
  }
  return 0;
}

static int list_folder(struct dav_walk *w, const char *folder, const struct object_body *body,
                       struct err *err)
{
  struct dav_call c = {.method = "PROPFIND", .key = folder, .what = "listing", .body = body};
  struct http_response r CLEANUP(http_response_release) = {0};
  dav_call_header(&c, "Depth", "1");
  dav_call_header(&c, "Content-Type", "application/xml");
  if (dav_request(w->dav, w->lane, &c, &r, err) == 0)
    return dav_read_list(w, folder, &r.body, err) < 0 ? err_prefix(err, "%s", c.what) : 0;
  return r.status == 404 ? 0 : -1;
}

static int walk(struct dav_walk *w, const char *folder, struct err *err)
{
  struct buf xml CLEANUP(buf_release) = BUF_INIT(0);
  struct web_xml_doc *doc CLEANUP(doc_free) = web_xml_new("propfind", "DAV:");
  struct web_xml_node *prop = doc ? web_xml_add(doc, NULL, "prop", NULL) : NULL;
  char *first cleanup_free = str_empty(folder) ? str_dup("") : str_printf("%s/", folder);
  if (!prop || !web_xml_add(doc, prop, "resourcetype", NULL) || web_xml_write(doc, &xml) < 0 ||
      !first || strings_add(&w->folders, first) < 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for a list");
  struct object_body body = object_body_bytes(xml.data, xml.length);
  while (w->next < w->folders.count)
    if (list_folder(w, w->folders.items[w->next++], &body, err) < 0)
      return -1;
  return 0;
}

int dav_list(void *store, void *lane, const char *folder, size_t max, struct strings *ret,
             struct err *err)
{
  struct dav_walk w = {.dav = store, .lane = lane, .names = ret, .max = max};
  int result = walk(&w, folder, err);
  strings_release(&w.folders);
  return result;
}
