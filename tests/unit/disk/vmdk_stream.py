#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# vmdk_stream.py OUT.raw < IMAGE.vmdk: reads a streamOptimized vmdk as an importer does, strictly
# forward (standard input may be a pipe), rebuilds the disk, and complains of everything that is not
# as "Virtual Disk Format 5.0" has it. Knows nothing of the program that wrote it. Prints one JSON
# object: what the image says about itself, and how many grains and tables it has.
import json
import re
import struct
import sys
import zlib

SECTOR = 512
HEADER = struct.Struct("<4sIIQQQQIQQQB4sH433s")
GD_AT_END = 0xFFFFFFFFFFFFFFFF
END, TABLE, DIRECTORY, FOOTER = range(4)


class Wrong(Exception):
    pass


def want(true, why):
    if not true:
        raise Wrong(why)


class Stream:
    def __init__(self, file):
        self.file, self.sector = file, 0

    def take(self, sectors, what):
        data = self.file.read(sectors * SECTOR)
        want(len(data) == sectors * SECTOR, f"the stream ends within {what}")
        self.sector += sectors
        return data


def read_header(block):
    names = ("magic version flags capacity grain descriptor descriptor_size entries redundant "
             "directory overhead unclean line_ends compression unused").split()
    h = dict(zip(names, HEADER.unpack(block)))
    want(h["magic"] == b"KDMV", "no magic number")
    want(h["version"] == 3, "not version 3")
    want(h["flags"] == 0x30001, f"flags {h['flags']:#x}")
    want(h["capacity"] > 0, "no capacity")
    want(h["grain"] == 128 and h["entries"] == 512, "other grains or tables than ESXi takes")
    want(h["redundant"] == 0, "a redundant directory in a stream")
    want(h["unclean"] == 0 and h["compression"] == 1, "unclean, or not deflated")
    want(h["line_ends"] == b"\n \r\n", "line ends were translated")
    want(h["unused"] == bytes(433), "something in the unused bytes")
    return h


def read_descriptor(block, capacity):
    text = block.rstrip(b"\0").decode("ascii")
    want(len(text) <= SECTOR, "govmomi reads one sector of the descriptor")
    want(text.startswith("# Disk DescriptorFile\nversion=1\n"), "no descriptor")
    values = dict(re.findall(r'^([A-Za-z.]+) ?= ?"?([^"\n]*)"?$', text, re.M))
    want(values["createType"] == "streamOptimized", "createType")
    want(values["parentCID"] == "ffffffff", "parentCID")
    want(re.fullmatch("[0-9a-f]{8}", values["CID"]) and int(values["CID"], 16) < 0xFFFFFFFE, "CID")
    extents = re.findall(r"^RW (\d+) SPARSE \"[^\"]+\"$", text, re.M)
    want(extents == [str(capacity)], f"extents {extents} of a capacity of {capacity}")
    return {key: value for key, value in values.items() if key.startswith("ddb.")}


class Reader:
    def __init__(self, stream, out):
        self.s, self.out = stream, out
        self.grains = 0
        self.last = -1          # number of the last grain
        self.table = {}         # entry: sector, of the grains since the last table
        self.number = None      # of the table that those belong to
        self.tables = {}        # number: sector

    def grain(self, first, lba, size):
        h = self.h
        want(self.directory_at is None, "a grain after the directory")
        want(lba % h["grain"] == 0 and lba < h["capacity"], f"a grain at sector {lba}")
        number = lba // h["grain"]
        want(number > self.last, f"grain {number} after grain {self.last}")
        if self.number is None:
            self.number = number // h["entries"]
        want(number // h["entries"] == self.number, f"grain {number} before table {self.number}")
        want(self.number not in self.tables, f"a grain after its table {self.number}")
        self.table[number % h["entries"]] = self.s.sector - 1
        rest = (12 + size + SECTOR - 1) // SECTOR - 1
        record = first + self.s.take(rest, "a grain")
        want(not any(record[12 + size:]), "something behind a grain")
        z = zlib.decompressobj()
        data = z.decompress(record[12:12 + size], 1 << 20) + z.flush()
        want(z.eof and not z.unused_data, f"grain {number} is no whole zlib stream")
        length = min(h["grain"], h["capacity"] - lba) * SECTOR
        want(len(data) == length, f"grain {number} holds {len(data)} bytes, not {length}")
        self.out.seek(lba * SECTOR)
        self.out.write(data)
        self.last, self.grains = number, self.grains + 1

    def read_table(self, sectors):
        want(sectors == 4 and self.table, "a table of another size, or without grains")
        at = self.s.sector
        entries = struct.unpack("<512I", self.s.take(sectors, "a table"))
        want({i: e for i, e in enumerate(entries) if e} == self.table, f"table {self.number} lies")
        self.tables[self.number] = at
        self.table, self.number = {}, None

    def read_directory(self, sectors):
        want(not self.table, "grains without a table")
        want(self.directory_at is None, "two directories")
        span = self.h["grain"] * self.h["entries"]
        count = (self.h["capacity"] + span - 1) // span
        want(sectors == (count * 4 + SECTOR - 1) // SECTOR, f"a directory of {sectors} sectors")
        self.directory_at = self.s.sector
        entries = struct.unpack(f"<{sectors * 128}I", self.s.take(sectors, "the directory"))
        want({i: e for i, e in enumerate(entries) if e} == self.tables, "the directory lies")

    def read_footer(self, sectors):
        want(self.directory_at is not None and sectors == 1, "a footer before the directory")
        footer = read_header(self.s.take(1, "the footer"))
        want(footer.pop("directory") == self.directory_at, "the footer lies about the directory")
        want(all(self.h[key] == value for key, value in footer.items()), "another footer")
        self.footer = True

    def run(self):
        self.h = read_header(self.s.take(1, "the header"))
        want(self.h["directory"] == GD_AT_END, "the directory is not at the end")
        want(self.h["descriptor"] == 1, "the descriptor is elsewhere")
        values = read_descriptor(self.s.take(self.h["descriptor_size"], "the descriptor"),
                                 self.h["capacity"])
        rest = self.s.take(self.h["overhead"] - self.s.sector, "the space before the grains")
        want(not any(rest), "something before the grains")
        self.directory_at, self.footer = None, False
        while True:
            block = self.s.take(1, "the stream: no end of it")
            value, size, kind = struct.unpack_from("<QII", block)
            if size:
                self.grain(block, value, size)
                continue
            want(not any(block[16:]), "something in a marker")
            if kind == END:
                break
            want(kind in (TABLE, DIRECTORY, FOOTER), f"a marker of type {kind}")
            (self.read_table, self.read_directory, self.read_footer)[kind - 1](value)
        want(value == 0 and self.footer, "an end without a footer")
        want(not self.s.file.read(1), "something after the end")
        self.out.truncate(self.h["capacity"] * SECTOR)
        return {"capacity": self.h["capacity"], "grains": self.grains, "tables": len(self.tables),
                **values}


def main():
    try:
        with open(sys.argv[1], "wb") as out:
            print(json.dumps(Reader(Stream(sys.stdin.buffer), out).run()))
    except (Wrong, zlib.error, KeyError, UnicodeDecodeError) as why:
        sys.exit(f"not a good stream: {why!r}")


main()
