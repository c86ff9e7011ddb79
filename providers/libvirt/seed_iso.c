// SPDX-License-Identifier: Apache-2.0
// A small ISO 9660 image with the names of Rock Ridge. By ourselves: the library for it (libisofs)
// may not be linked with our licence, and a program would want user-data in a file.
// Layout in sectors of 2 KiB: 16 empty, volume descriptor, its end, two path tables, the root
// folder, the files. Numbers are written in both byte orders. Format: ECMA-119; SUSP 1.12 and
// RRIP 1.12 (IEEE P1281, P1282).
#include "providers/libvirt/derive_internal.h"

#include <endian.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"

#define SECTOR       2048u
#define AT_VOLUME    16u
#define AT_TABLE_L   18u
#define AT_TABLE_M   19u
#define AT_ROOT      20u
#define AT_FILES     21u
#define RECORD_FIXED 33u // bytes of a folder's record before the name
#define NAME_MAX_    30u
#define RECORD_MAX   255u

struct record {
  uint8_t bytes[RECORD_MAX];
  size_t length;
};

static void both16(uint8_t *at, uint16_t value)
{
  uint16_t order[2] = {htole16(value), htobe16(value)};
  memcpy(at, order, sizeof(order));
}

static void both32(uint8_t *at, uint32_t value)
{
  uint32_t order[2] = {htole32(value), htobe32(value)};
  memcpy(at, order, sizeof(order));
}

static uint32_t sectors_of(size_t bytes)
{
  return (uint32_t)((bytes + SECTOR - 1) / SECTOR);
}

// Begins a record. Its date is always 1980-01-01: the image follows from its content alone.
static void begin(struct record *r, uint32_t sector, size_t bytes, bool folder, const char *name,
                  size_t name_length)
{
  *r = (struct record){.length = RECORD_FIXED + name_length + (name_length % 2 == 0)};
  both32(r->bytes + 2, sector);
  both32(r->bytes + 10, (uint32_t)bytes);
  memcpy(r->bytes + 18, "\x50\x01\x01", 3);
  r->bytes[25] = folder ? 2 : 0;
  both16(r->bytes + 28, 1); // volume of the set
  r->bytes[32] = (uint8_t)name_length;
  memcpy(r->bytes + RECORD_FIXED, name, name_length);
}

// An entry of the system use area: two letters, its length, version 1.
static uint8_t *entry(struct record *r, const char *letters, size_t length)
{
  uint8_t *at = r->bytes + r->length;
  memcpy(at, letters, 2);
  at[2] = (uint8_t)length;
  at[3] = 1;
  r->length += length;
  return at + 4;
}

static void add_mode(struct record *r, uint32_t mode)
{
  uint8_t *at = entry(r, "PX", 36);
  both32(at, mode);
  both32(at + 8, 1); // links; user and group stay 0
}

// Says in the root folder's own record that Rock Ridge is used.
static void add_signature(struct record *r)
{
  static const char id[] = "RRIP_1991A";
  uint8_t *at = entry(r, "SP", 7);
  at[0] = 0xbe;
  at[1] = 0xef;
  at = entry(r, "ER", 8 + sizeof(id) - 1);
  at[0] = sizeof(id) - 1;
  at[3] = 1; // version of the extension
  memcpy(at + 4, id, sizeof(id) - 1);
}

static void end(struct record *r, struct buf *b)
{
  r->length += r->length % 2;
  r->bytes[0] = (uint8_t)r->length;
  buf_add(b, r->bytes, r->length);
}

static void add_file(const struct seed_file *f, uint32_t sector, struct buf *b)
{
  char name[NAME_MAX_ + 4] = ""; // "META-DATA.;1" for those who know no Rock Ridge
  size_t length = strlen(f->name);
  for (size_t i = 0; i < length; i++)
    name[i] = f->name[i] >= 'a' && f->name[i] <= 'z' ? (char)(f->name[i] - 'a' + 'A') : f->name[i];
  memcpy(name + length, ".;1", 3);
  struct record r;
  begin(&r, sector, strlen(f->text), false, name, length + 3);
  add_mode(&r, S_IFREG | 0400);
  uint8_t *at = entry(&r, "NM", 5 + length);
  memcpy(at + 1, f->name, length);
  end(&r, b);
}

static void fill_sector(struct buf *b)
{
  static const char zeros[SECTOR];
  if (b->length % SECTOR)
    buf_add(b, zeros, SECTOR - b->length % SECTOR);
}

static void add_root(const struct seed_file *files, size_t count, struct buf *b)
{
  struct record r;
  for (int dots = 1; dots <= 2; dots++) { // the folder itself, and its parent
    begin(&r, AT_ROOT, SECTOR, true, dots == 1 ? "\0" : "\1", 1);
    if (dots == 1)
      add_signature(&r);
    add_mode(&r, S_IFDIR | 0500);
    end(&r, b);
  }
  uint32_t sector = AT_FILES;
  for (size_t i = 0; i < count; i++) {
    add_file(&files[i], sector, b);
    sector += sectors_of(strlen(files[i].text));
  }
  fill_sector(b);
}

static void add_volume(uint32_t sectors, struct buf *b)
{
  uint8_t v[SECTOR] = {1, 'C', 'D', '0', '0', '1', 1};
  memset(v + 8, ' ', 64);    // system and volume names
  memset(v + 190, ' ', 623); // names of people and programs
  memcpy(v + 40, "cidata", 6);
  both32(v + 80, sectors);
  both16(v + 120, 1); // volumes
  both16(v + 124, 1); // this one
  both16(v + 128, SECTOR);
  both32(v + 132, 10); // bytes of a path table
  uint32_t little = htole32(AT_TABLE_L), big = htobe32(AT_TABLE_M);
  memcpy(v + 140, &little, 4);
  memcpy(v + 148, &big, 4);
  struct record root;
  begin(&root, AT_ROOT, SECTOR, true, "\0", 1);
  root.bytes[0] = (uint8_t)root.length;
  memcpy(v + 156, root.bytes, root.length);
  for (size_t at = 813; at < 881; at += 17) // dates: digits, then a zone: none
    memset(v + at, '0', 16);
  v[881] = 1; // version of the structure
  buf_add(b, v, sizeof(v));
}

// One record each: the root folder, which is its own parent.
static void add_path_tables(struct buf *b)
{
  uint8_t little[10] = {1, 0, AT_ROOT, 0, 0, 0, 1, 0, 0, 0};
  uint8_t big[10] = {1, 0, 0, 0, 0, AT_ROOT, 0, 1, 0, 0};
  buf_add(b, little, sizeof(little));
  fill_sector(b);
  buf_add(b, big, sizeof(big));
  fill_sector(b);
}

int seed_iso(const struct seed_file *files, size_t count, struct buf *ret, struct err *err)
{
  static const uint8_t last[SECTOR] = {255, 'C', 'D', '0', '0', '1', 1};
  static const uint8_t zeros[SECTOR];
  uint32_t sectors = AT_FILES;
  for (size_t i = 0; i < count; i++) {
    if (strlen(files[i].name) > NAME_MAX_ || count > SEED_FILES_MAX)
      return err_set(err, ERR_INTERNAL, "a seed with %zu files", count);
    sectors += sectors_of(strlen(files[i].text));
  }
  ret->max = SEED_BYTES_MAX;
  for (size_t i = 0; i < AT_VOLUME; i++)
    buf_add(ret, zeros, SECTOR);
  add_volume(sectors, ret);
  buf_add(ret, last, SECTOR);
  add_path_tables(ret);
  add_root(files, count, ret);
  for (size_t i = 0; i < count; i++) {
    buf_adds(ret, files[i].text);
    fill_sector(ret);
  }
  return buf_ok(ret) ? 0
                     : err_set(err, ERR_LIMIT, "what cloud-init is told is more than %u bytes",
                               SEED_BYTES_MAX);
}
