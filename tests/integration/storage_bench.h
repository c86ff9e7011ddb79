// SPDX-License-Identifier: Apache-2.0
// What the conformance tests of stores work with: the store of the command line, objects with a
// known pattern, writing and reading them through several lanes, and assertions that show the
// error. One store per process, opened once; all of it for the main thread.
#pragma once

#include "storage/storage.h"
#include "tests/integration/expect.h"

#define FOLDER      "conformance"
#define OWNER       "installation/ns/name \"x\"/uid-1"
#define IMAGE_BYTES ((20u << 20) + 12345)
#define LIST_MAX    1000
#define LANES       3
#define PARTS_MAX   64

struct settings {
  struct storage_config config;
  struct address_filter *allowed;
  bool atomic; // the store can hide an object before commit
};

extern struct settings settings;
extern struct storage *store;
extern struct storage_lane *lane;

// The description that storage_conformance.c shows.
int read_settings(const char *path, struct err *err);
int open_store(struct err *err);
void close_store(void);

void expect_listed(size_t count); // objects below FOLDER; nothing is said by a store without lists
void expect_content(const char *key, const char *text);
void put(const char *key, const char *text);
void drop(const char *key);

// ---- images ----

struct part {
  uint32_t number;
  uint64_t offset, length;
};

unsigned char pattern(uint64_t at); // the byte that an image has there
// The parts of an image of that size as the writer wants them, at most PARTS_MAX.
size_t lay_out(const struct object_writer *w, uint64_t size, struct part *parts);
int write_part(struct object_writer *w, void *part_lane, struct part p, bool in_memory,
               struct err *err);
void write_in_order(struct object_writer *w, const struct part *parts, size_t count);
// From begin to the last part, by several lanes out of order where the writer allows it.
void write_all(struct object_writer *w, uint64_t size);
void expect_image(const char *key, uint64_t size); // read by several lanes
struct object_writer *writer(const char *key, bool overwrite, const char *upload_state);
void expect_invisible(const char *key);
// Begins an image and ends as a process that died does.
void leave_unfinished(const char *key);

// storage_suite.c
int run_suite(void);
