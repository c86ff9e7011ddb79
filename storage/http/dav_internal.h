// SPDX-License-Identifier: Apache-2.0
// The HTTP store, folder-private: a base URL below which GET with ranges and HEAD are needed for
// reading, PUT and DELETE for writing. Where the server speaks WebDAV (RFC 4918), objects are
// written under a temporary name and moved, folders are made, and lists are to be had.
//
//   open.c      base URL, credentials
//   request.c   one call, its retries, what a status means
//   object.c    check, stat, ranges, remove
//   list.c      PROPFIND
//   writer.c    PUT, MOVE, MKCOL; the object_writer
#pragma once

#include "storage/storage_internal.h"
#include "storage/web_internal.h"

#define DAV_HEADERS_MAX 6
#define DAV_DEPTH_MAX   32    // folders within folders in a list
#define DAV_FOLDERS_MAX 10000 // folders in a list

enum dav_moves { DAV_MOVES_UNKNOWN, DAV_MOVES, DAV_MOVES_NOT };

struct dav {
  struct web_store web;
  const struct storage_config *config;
  char *base;             // URL without a slash at the end
  char *path;             // its path, as written, without a slash at the end: "" or "/a/b"
  atomic_int moves;       // enum dav_moves
  atomic_int open_bodies; // enum storage_answer: takes a body without Content-Length
};

struct dav_call {
  const char *method;
  const char *what; // for messages
  const char *key;  // "" = the base; a key that ends in '/' is a folder
  struct http_header headers[DAV_HEADERS_MAX];
  size_t header_count;
  const struct object_body *body;
  int64_t total_timeout_ms; // 0 = none
  struct web_range *range;  // the answer goes there; NULL: it is kept
};

void dav_call_header(struct dav_call *c, const char *name, const char *value);
char *dav_url(const struct dav *d, const char *key); // yours; NULL: no memory
// One attempt; an answer other than 2xx is an error, and *ret tells its status. Release *ret
// always.
int dav_attempt(const struct dav *d, struct web_lane *lane, const struct dav_call *c,
                struct http_response *ret, struct err *err);
int dav_request(const struct dav *d, struct web_lane *lane, const struct dav_call *c,
                struct http_response *ret, struct err *err);

int dav_open(const struct storage_config *c, const struct address_filter *allowed, void **ret,
             struct err *err);
void dav_close(void *store);
int dav_check(void *store, void *lane, struct err *err);
int dav_stat(void *store, void *lane, const char *key, struct storage_stat *ret, struct err *err);
int dav_get_range(void *store, void *lane, const char *key, const char *identity, void *into,
                  size_t length, uint64_t offset, struct err *err);
int dav_remove(void *store, void *lane, const char *key, struct err *err);
int dav_remove_partial(void *store, void *lane, const char *key, const char *owner,
                       struct err *err);
// A list under way, folder by folder.
struct dav_walk {
  struct dav *dav;
  struct web_lane *lane;
  struct strings folders; // to be looked at: keys with a slash at the end, "" for the base
  size_t next;
  struct strings *names; // found so far
  size_t max;            // more: ERR_LIMIT
};
// What a server answers to PROPFIND for the folder `asked`. Pure.
int dav_read_list(struct dav_walk *w, const char *asked, const struct buf *xml, struct err *err);
int dav_list(void *store, void *lane, const char *folder, size_t max, struct strings *ret,
             struct err *err);
int dav_put(void *store, void *lane, const char *key, const void *data, size_t length,
            const char *owner, bool only_new, struct err *err);
// As dav_put(), of an object that is only tried: without its length, and with it where the server
// does not take that. Afterwards dav_takes_any_length() knows.
int dav_put_probe(void *store, void *lane, const char *key, const void *data, size_t length,
                  const char *owner, struct err *err);
enum storage_answer dav_takes_any_length(const void *store);
int dav_writer(void *store, const char *key, const char *owner, bool overwrite,
               struct object_writer **ret, struct err *err);
