/** What it costs to list an input: each folder read once, each file looked at once, two syncs a page. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { jobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { delay } from '../../common/io/delay.ts';
import type { Command } from '../../coordinator/core/commands.ts';
import { readFolder } from '../../coordinator/input/folder-names.ts';
import { InputCatalog } from '../../coordinator/input/input-catalog.ts';
import { listInput, type ListOptions } from '../../coordinator/input/list-input.ts';
import { statFiles } from '../../coordinator/input/stat-files.ts';
import { listJob, openListing } from '../../coordinator/list-job.ts';
import { MemoryFileSystem } from '../helpers/memory-file-system.ts';

const folders = 60;
const filesEach = 40;
const pageFilesMax = 500;
const files = folders * filesEach;

let dir = '';
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-cost-'));
  for (let folder = 0; folder < folders; folder += 1) {
    mkdirSync(join(dir, 'in', `f${folder}`), { recursive: true });
    for (let file = 0; file < filesEach; file += 1) writeFileSync(join(dir, 'in', `f${folder}`, `${file}.txt`), '');
  }
});
afterAll(() => rmSync(dir, { recursive: true }));

/** Lists the input into a job's catalog, as a job does. */
async function costOf(more: Partial<ListOptions>) {
  const disk = new MemoryFileSystem();
  const catalog = await InputCatalog.open({ jobDir: '/job', fileSystem: disk });
  const before = { ...disk.counts };
  const cost = { folders: 0, looks: 0, listed: 0 };
  const listing = listInput(join(dir, 'in'), {
    recursive: true,
    pageFilesMax,
    readFolder: async (...args) => {
      cost.folders += 1;
      return await readFolder(...args);
    },
    statFiles: async (base, paths) => {
      cost.looks += paths.length;
      return await statFiles(base, paths);
    },
    ...more,
  });
  const handle = (command: Command): void => {
    if (command.kind === 'page-listed') cost.listed += command.sizesBytes.length;
  };
  const open = await openListing(listing);
  const signal = new AbortController().signal;
  const parts = {
    job: jobName('job-1'),
    open,
    taken: null,
    catalog,
    handle,
    wall: () => 0,
    delay,
    signal,
    isOver: () => false,
  };
  await listJob(parts);
  const { datasync, syncDir, rename, read } = disk.counts;
  const syncs = datasync - before.datasync + syncDir - before.syncDir;
  return { ...cost, syncs, renames: rename - before.rename, reads: read - before.read };
}

const pages = Math.ceil(files / pageFilesMax);

it('of a walk: each folder once, each file once, two syncs a page, nothing read back', async () => {
  expect(await costOf({})).toEqual({
    ...{ folders: folders + 1, looks: files, listed: files },
    ...{ syncs: 2 * pages, renames: pages, reads: 0 },
  });
});

it('of a walk with patterns: only folders that can hold something, only files that are wanted', async () => {
  const cost = await costOf({ include: ['f1?/*.txt'], exclude: ['1*.txt', 'f19/'] });
  const wanted = 9 * (filesEach - 11);
  expect(cost).toEqual({
    ...{ folders: 1 + 9, looks: wanted, listed: wanted },
    ...{ syncs: 2, renames: 1, reads: 0 },
  });
});

it('of a list: no folder at all, each file once', async () => {
  const names = Array.from({ length: files }, (_, file) => `f${file % folders}/${Math.floor(file / folders)}.txt`);
  const path = join(dir, 'list.txt');
  writeFileSync(path, names.join('\n'));
  expect(await costOf({ list: { path, column: 'path', identity: null } })).toEqual({
    ...{ folders: 0, looks: files, listed: files },
    ...{ syncs: 2 * pages, renames: pages, reads: 0 },
  });
});

it('before the first page is there: its own files alone, and few of them', async () => {
  let looks = 0;
  const open = await openListing(
    listInput(join(dir, 'in'), {
      recursive: true,
      statFiles: async (base, paths) => {
        looks += paths.length;
        return await statFiles(base, paths);
      },
    }),
  );
  expect([open.first?.length, looks]).toEqual([limits.listedFirstFiles, limits.listedFirstFiles]);
  let rest = 0;
  for (let page = await open.rest.next(); page.done !== true; page = await open.rest.next()) rest += page.value.length;
  expect(rest).toBe(files - limits.listedFirstFiles);
});
