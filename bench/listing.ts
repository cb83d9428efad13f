/**
 * An input of 1,000,000 files in 1,000 folders (`LISTING_FILES` chooses another number) on a local disk: listed by the walk, by the
 * walk with patterns, by a list of them, each into a catalog that is synced page by page, as a job does it; and looked at by `plan`.
 * Each in a process of its own, so that its peak memory is its own. A first listing, of which nothing is told, has warmed the
 * disk's cache.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { jobName } from '../common/core/ids.ts';
import { systemClock } from '../common/io/clock.ts';
import { delay } from '../common/io/delay.ts';
import { InputCatalog } from '../coordinator/input/input-catalog.ts';
import { listInput, type ListOptions } from '../coordinator/input/list-input.ts';
import { listJob, openListing } from '../coordinator/list-job.ts';
import { lookAtInput } from '../coordinator/plan-input.ts';

const files = Number(process.env['LISTING_FILES'] ?? 1_000_000);
const foldersOf = 1_000;
const msMax = 10_000;
/** Above what Node itself takes: pages on their way, and a list's digests of 16 to 32 bytes a path. */
const residentMiBMax = 384;

const ways = ['walk', 'patterns', 'list', 'plan'] as const;
type Way = (typeof ways)[number];

const pathOf = (file: number): string =>
  `part-${String(file % foldersOf).padStart(4, '0')}/file-${String(file).padStart(7, '0')}.txt`;

async function writeInputs(dir: string): Promise<void> {
  for (let folder = 0; folder < foldersOf; folder += 1)
    mkdirSync(join(dir, 'in', pathOf(folder).slice(0, 9)), { recursive: true });
  const list = createWriteStream(join(dir, 'list.txt'));
  for (let file = 0; file < files; file += 1) {
    writeFileSync(join(dir, 'in', pathOf(file)), '');
    if (!list.write(`${pathOf(file)}\n`)) await once(list, 'drain');
  }
  list.end();
  await finished(list);
}

/** Files that were found. */
async function listed(dir: string, way: Exclude<Way, 'plan'>): Promise<number> {
  const options: Readonly<Record<typeof way, ListOptions>> = {
    walk: { recursive: true },
    patterns: { recursive: true, include: ['*[13579].txt', 'part-00??/**'], exclude: ['part-0999/'] },
    list: { recursive: true, list: { path: join(dir, 'list.txt'), column: 'path', identity: null } },
  };
  const jobDir = join(dir, `job-${way}`);
  mkdirSync(jobDir);
  const catalog = await InputCatalog.open({ jobDir });
  const open = await openListing(listInput(join(dir, 'in'), options[way]));
  const signal = new AbortController().signal;
  const none = (): void => undefined;
  await listJob({
    ...{
      job: jobName('bench'),
      open,
      taken: null,
      catalog,
      handle: none,
      wall: () => 0,
      delay,
      signal,
      isOver: () => false,
    },
  });
  return catalog.count;
}

async function planned(dir: string): Promise<number> {
  const selection = { include: [], exclude: [], recursive: true, list: null };
  const miniBatchSize = { kind: 'files', files: 10 } as const;
  const { report } = await lookAtInput({
    inputs: { listInput },
    deployment: 'bench',
    miniBatchSize,
    inputPath: join(dir, 'in'),
    selection,
    slots: 8,
    onProgress: () => undefined,
  });
  return report.files;
}

async function measure(dir: string, way: Way): Promise<void> {
  const began = systemClock.monotonic();
  const found = way === 'plan' ? await planned(dir) : await listed(dir, way);
  const ms = Math.round(systemClock.monotonic() - began);
  const { user, system } = process.cpuUsage();
  const cpuMs = Math.round((user + system) / 1_000);
  const residentMiB = Math.round(process.resourceUsage().maxRSS / 1_024);
  console.log(
    JSON.stringify({
      bench: 'listing',
      way,
      files,
      found,
      ms,
      cpuMs,
      perSecond: Math.round((found / ms) * 1_000),
      residentMiB,
    }),
  );
  if (ms > msMax || residentMiB > residentMiBMax) process.exitCode = 1;
}

async function main(): Promise<void> {
  const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-listing-'));
  try {
    await writeInputs(dir);
    for await (const _ of listInput(join(dir, 'in'), { recursive: true }));
    for (const way of ways) {
      const { status } = spawnSync(process.execPath, [process.argv[1] ?? '', way, dir], { stdio: 'inherit' });
      if (status !== 0) process.exitCode = 1;
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

const [way, dir] = process.argv.slice(2);
if (way !== undefined && dir !== undefined) await measure(dir, way as Way);
else await main();
