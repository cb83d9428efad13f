/**
 * A job of 1,000,000 mini-batches of one file each (`MILLION_FILES` chooses another number) on a real coordinator with real
 * worker nodes and a scorer that does nothing. Memory of the coordinator per mini-batch, while it runs; size of its journal and
 * snapshots; then kill -9 in the middle, and the time from the restart to the first new grant.
 *
 * Worker nodes score the first `MILLION_SCORED` files (default: 20,000) before the kill; the rest of the half is committed in the
 * journal and in the output while nobody runs, as the coordinator would have done. With `MILLION_REAL=1` they score all of it,
 * and the other half after the restart, to the job's end: a quarter of an hour or more on two processors.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  createReadStream,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { crc32 } from 'node:zlib';
import { createClient } from '../cli/client.ts';
import { formatAddress } from '../common/config/address.ts';
import { systemClock } from '../common/io/clock.ts';
import { compiledFile } from '../common/io/package-files.ts';
import type { NodeName } from '../common/core/ids.ts';
import type { JobView } from '../coordinator/api/backend.ts';
import type { Event } from '../coordinator/core/events.ts';
import { evolve } from '../coordinator/core/evolve.ts';
import { newLedger } from '../coordinator/core/ledger.ts';
import { columnBytes, imageOf, restoreImage } from '../coordinator/core/ledger-image.ts';
import { decodeImage, encodeImage } from '../coordinator/journal/image-bytes.ts';
import { Journal } from '../coordinator/journal/journal.ts';
import type { SnapshotTaken } from '../coordinator/journal/snapshots.ts';
import { endPrograms, Program, until } from '../test/helpers/programs.ts';

const files = Number(process.env['MILLION_FILES'] ?? 1_000_000);
const half = Math.floor(files / 2);
const isReal = process.env['MILLION_REAL'] === '1';
const scored = isReal ? half : Math.min(half, Number(process.env['MILLION_SCORED'] ?? 20_000));
const foldersOf = 1_000;
const nodes = 2;
const restartMsMax = 5_000;
const bytesMax = 200;

/** The coordinator as the program starts it, with a way to ask for its memory. */
const host = `
  const { startCoordinator } = await import(process.argv[2]);
  const settings = JSON.parse(process.argv[3]);
  const coordinator = await startCoordinator(settings);
  process.send({ listen: coordinator.listen, http: coordinator.http, joinToken: coordinator.joinToken });
  process.on('message', () => {
    for (let round = 0; round < 4; round += 1) globalThis.gc();
    const { heapUsed, external } = process.memoryUsage();
    process.send({ heapUsed, external });
  });
`;

interface Served {
  readonly listen: { readonly host: string; readonly port: number };
  readonly http: { readonly host: string; readonly port: number };
  readonly joinToken: string;
}

interface Memory {
  readonly heapUsed: number;
  readonly external: number;
}

class Coordinator {
  readonly child: ChildProcess;
  readonly served: Promise<Served>;
  /** Lines of its log that were of interest, with the time at which they came. */
  readonly log: { readonly atMs: number; readonly line: Record<string, unknown> }[] = [];

  constructor(stateDir: string, listen: unknown, http: unknown) {
    const settings = { stateDir, listen, http, heartbeatMs: null, isInsecure: true };
    const main = `${stateDir}.mjs`;
    writeFileSync(main, host);
    const args = ['--expose-gc', main, compiledFile('coordinator', 'coordinator.js'), JSON.stringify(settings)];
    this.child = spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
    createInterface({ input: this.child.stderr as NodeJS.ReadableStream }).on('line', (line) => this.#read(line));
    started.push(this);
    this.served = this.#next<Served>();
  }

  memory(): Promise<Memory> {
    const answer = this.#next<Memory>();
    this.child.send('memory');
    return answer;
  }

  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.child.once('close', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }

  #next<T>(): Promise<T> {
    return new Promise((resolve, reject) => {
      this.child.once('message', (message) => resolve(message as T));
      this.child.once('close', () => reject(new Error(`the coordinator ended: ${JSON.stringify(this.log.slice(-5))}`)));
    });
  }

  #read(line: string): void {
    try {
      this.log.push({ atMs: systemClock.monotonic(), line: JSON.parse(line) as Record<string, unknown> });
    } catch {
      console.error(line);
    }
  }
}

function writeInputs(dir: string): void {
  const perFolder = Math.ceil(files / foldersOf);
  for (let folder = 0, file = 0; file < files; folder += 1) {
    const path = join(dir, `part-${String(folder).padStart(4, '0')}`);
    mkdirSync(path, { recursive: true });
    for (let index = 0; index < perFolder && file < files; index += 1, file += 1) {
      writeFileSync(join(path, `file-${String(file).padStart(7, '0')}.txt`), '');
    }
  }
}

function writeDeployment(dir: string): string {
  mkdirSync(join(dir, 'code'), { recursive: true });
  const script = 'export function run(_paths, context) {\n  return context.names.map(() => "x");\n}\n';
  writeFileSync(join(dir, 'code', 'nothing.mjs'), script);
  const path = join(dir, 'nothing.yml');
  const lines = [
    'name: nothing',
    'code_configuration:',
    `  code: ${join(dir, 'code')}`,
    '  scoring_script: nothing.mjs',
  ];
  writeFileSync(path, `${[...lines, 'mini_batch_size: 1'].join('\n')}\n`);
  return path;
}

function bytesBelow(dir: string, prefix: string): number {
  const names = readdirSync(dir).filter((name) => name.startsWith(prefix) && !name.endsWith('.tmp'));
  return names.reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);
}

function print(line: Record<string, unknown>): void {
  console.log(JSON.stringify({ bench: 'million', files, ...line }));
}

const seconds = (fromMs: number): number => Math.round((systemClock.monotonic() - fromMs) / 100) / 10;

const started: Coordinator[] = [];

async function measure(dir: string): Promise<void> {
  const stateDir = join(dir, 'state');
  const journalDir = join(stateDir, 'journal');
  const input = join(dir, 'in');
  writeInputs(input);
  const local = { host: '127.0.0.1', port: 0 };
  let coordinator = new Coordinator(stateDir, local, local);
  const { listen, http, joinToken } = await coordinator.served;
  const client = createClient({ server: http, ca: null, token: null, isInsecure: true });
  const empty = await coordinator.memory();

  const begin = systemClock.monotonic();
  const output = join(dir, 'out');
  const args = [
    'job',
    'submit',
    writeDeployment(dir),
    '--input',
    input,
    '--output',
    output,
    '--server',
    formatAddress(http),
  ];
  const submit = new Program(args, { cwd: dir });
  const { code, stdout, stderr } = await submit.endsWithin(120_000);
  if (code !== 0) throw new Error(stderr);
  const { name } = JSON.parse(stdout) as JobView;
  const show = async (): Promise<JobView | null> => {
    const view = await client.show(name).catch(() => null);
    if (view?.status === 'Failed') throw new Error(view.error?.message);
    return view;
  };
  const listed = await until(
    async () => {
      const view = await show();
      return view && view.files.total >= files ? view : null;
    },
    'the listing',
    600_000,
  );
  print({ what: 'listed', seconds: seconds(begin), files: listed.files.total });
  const atListing = await coordinator.memory();
  printMemory('all mini-batches pending', atListing, empty);

  for (let node = 0; node < nodes; node += 1) {
    const scratch = join(dir, `scratch-${node}`);
    const join_ = [
      'worker',
      'join',
      '--insecure',
      formatAddress(listen),
      '--name',
      `node-${node}`,
      '--slots',
      '2',
      '--scratch-dir',
      scratch,
    ];
    new Program(join_, { cwd: dir, environment: { BATCHMILL_TOKEN: joinToken } });
  }
  const scoring = systemClock.monotonic();
  const isHalf = async (): Promise<JobView | null> => {
    const view = await show();
    return view && view.files.scored >= scored ? view : null;
  };
  const middle = await until(isHalf, 'half of the job', 3_600_000);
  print({ what: 'scored', files: middle.files.scored, perSecond: Math.round(middle.files.scored / seconds(scoring)) });
  printMemory(`${middle.files.scored} of them committed`, await coordinator.memory(), empty);
  await coordinator.kill();
  if (middle.files.scored < half) print({ what: 'filled up', ...(await fillUp(stateDir, output)) });
  print({
    what: 'disk',
    journalBytes: bytesBelow(journalDir, 'segment-'),
    snapshotBytes: bytesBelow(journalDir, 'snapshot-'),
    snapshots: coordinator.log
      .filter(({ line }) => line['message'] === 'snapshot of the journal')
      .map(({ line }) => line),
  });

  const before = readFileSync(join(output, 'predictions.csv.partial')).length;
  const restart = systemClock.monotonic();
  coordinator = new Coordinator(stateDir, listen, http);
  await coordinator.served;
  const servesMs = Math.round(systemClock.monotonic() - restart);
  await until(() => coordinator.log.some(({ line }) => line['message'] === 'first lease granted'), 'a grant', 60_000);
  const lineOf = (message: string) => coordinator.log.find(({ line }) => line['message'] === message);
  const grantMs = Math.round((lineOf('first lease granted')?.atMs ?? Number.NaN) - restart);
  const replayed = lineOf('journal replayed')?.line;
  const replayedMs = Math.round((lineOf('journal replayed')?.atMs ?? Number.NaN) - restart);
  print({ what: 'restart', replayedMs, servesMs, firstGrantMs: grantMs, replayed, partialBytes: before });
  if (!(grantMs < restartMsMax)) process.exitCode = 1;

  printMemory('after the restart', await coordinator.memory(), empty);
  if (!isReal) return;
  await until(async () => (await show())?.status === 'Completed', 'the end of the job', 3_600_000);
  const hash = createHash('sha256');
  for await (const piece of createReadStream(join(output, 'predictions.csv'))) hash.update(piece as Buffer);
  print({ what: 'completed', seconds: seconds(begin), sha256: hash.digest('hex') });
  printMemory('all of them committed', await coordinator.memory(), empty);
}

/** Commits the job's next mini-batches up to the half of them. */
async function fillUp(stateDir: string, output: string): Promise<Record<string, unknown>> {
  const ledger = newLedger({ heartbeatMs: null });
  const taken: SnapshotTaken[] = [];
  const fail = (what: unknown): never => {
    throw new Error(JSON.stringify(what));
  };
  const journal = await Journal.open({
    dir: stateDir,
    onRecord: (record) => evolve(ledger, record as Event),
    onSynced: () => undefined,
    onStall: fail,
    onFatal: fail,
    onSnapshot: (snapshot) => taken.push(snapshot),
    image: {
      take: () => {
        const image = imageOf(ledger);
        return { bytes: columnBytes(image), pieces: encodeImage(image) };
      },
      load: (content) => restoreImage(ledger, decodeImage(content)),
    },
  });
  const job = [...ledger.jobs.values()].at(-1);
  if (!job) throw new Error('there is no job');
  const row = Buffer.from('x\n');
  for (let counter = 1; job.committed < half; counter += 1) {
    const place = { segment: 0, offset: job.outputCommitted, length: row.length, crc32: crc32(row) };
    const token = { epoch: ledger.epoch, counter: 1_000_000 + counter };
    const node = job.nodeNames[counter % job.nodeNames.length] as NodeName;
    const counts = { schema: job.schema, rows: 1, fileRows: [1], failed: [], missing: 0 };
    const event: Event = { kind: 'Committed', job: job.name, batch: job.cursor, token, node, place, ...counts };
    evolve(ledger, event);
    journal.append(event);
    while (journal.pendingBytes > 4_000_000) await new Promise((resolve) => setImmediate(resolve));
  }
  const sequence = journal.append({ kind: 'NodeUnknown', node: 'none' });
  while (journal.syncedSequence < sequence) await new Promise((resolve) => setImmediate(resolve));
  await journal.close();
  const partial = join(output, 'predictions.csv.partial');
  const missing = job.outputCommitted - statSync(partial).size;
  if (missing > 0) appendFileSync(partial, Buffer.alloc(missing, row));
  return { committed: job.committed, taken };
}

function printMemory(when: string, now: Memory, empty: Memory): void {
  const heap = (now.heapUsed - empty.heapUsed) / files;
  const external = (now.external - empty.external) / files;
  const bytes = Math.round((heap + external) * 10) / 10;
  print({
    what: 'memory',
    when,
    bytesPerMiniBatch: bytes,
    heap: Math.round(heap * 10) / 10,
    external: Math.round(external * 10) / 10,
  });
  if (bytes > bytesMax) process.exitCode = 1;
}

const dir = await mkdtemp(join(process.env['BENCH_DIR'] ?? tmpdir(), 'batchmill-bench-'));
try {
  await measure(dir);
} finally {
  await endPrograms();
  for (const { child } of started) child.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true });
}
process.exit();
