import './small-limits.ts';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { CoordinatorMessage, NodeMessage, ResultReport } from '../../common/core/cluster-messages.ts';
import { formatToken, type Token } from '../../common/core/token.ts';
import type { NodeLink } from '../../coordinator/service/node-link.ts';
import { files, Harness } from '../helpers/ledger-harness.ts';
import { grant, jobA, jobSpec, token } from '../helpers/worker-rig.ts';
import { SimNetwork } from './network.ts';
import { ScriptedCoordinator } from './scripted-coordinator.ts';
import { bodyOf, fileOfRow, unmarked, type FileFate, type SimInput } from './sim-input.ts';
import { WorkerProcess, type WorkerPlan } from './worker-process.ts';
import { Random, World } from './world.ts';
import { wronged } from './wrong-count.ts';

const plan: WorkerPlan = {
  name: 'node-0',
  slots: 2,
  scoreMs: [10, 100],
  slowMs: 0,
  sickness: null,
  clock: { offsetMs: 5_000, rate: 1.02 },
  isRemote: false,
  spoolBytesMax: 1_000_000,
  joinToken: 't',
};

let world: World;
let coordinator: ScriptedCoordinator;
let network: SimNetwork;
let node: WorkerProcess;
let faults: string[];
let fates: Map<number, FileFate>;
let rowBytes: number;
let customBytes: number;

const input: SimInput = {
  fateOf: (file) => fates.get(file) ?? 'fine',
  rowsBytes: () => rowBytes,
  customBytes: (file) => (file % 2 === 0 ? customBytes : 0),
};

function build(given: Partial<WorkerPlan> = {}, seed = 1): void {
  world = new World(seed);
  coordinator = new ScriptedCoordinator(world);
  // Otherwise a host that cannot load its model gives its leases back.
  coordinator.isInitialised = () => false;
  network = new SimNetwork({ world, coordinator });
  faults = [];
  node = new WorkerProcess({ world, network, coordinator, input, plan: { ...plan, ...given }, faults });
  coordinator.onReceive = (link, message) => {
    if (message.hello)
      link.send({ adoption: message.hello.map(({ token: one }) => ({ oldToken: one, newToken: one })) });
  };
  node.start();
}

function playFor(ms: number): Promise<boolean> {
  const until = world.now + ms;
  world.at(until, () => undefined);
  return world.play(until, () => false);
}

const whenever = (condition: () => boolean): Promise<boolean> => world.play(world.now + 60_000, condition);
const link = (): NodeLink => coordinator.links[0] as NodeLink;
const messages = (): NodeMessage[] => coordinator.received.map(({ message }) => message);
const results = (): NodeMessage['results'] => messages().flatMap((message) => message.results);
const failures = (): NodeMessage['failures'] => messages().flatMap((message) => message.failures);

/** Leases mini-batches of `count` files each; file f0 of the one with counter c is 10 c. */
function lease(counters: readonly number[], count = 3): void {
  const grants = counters.map((counter) => grant(counter, { files: count }));
  link().send({ jobs: [jobSpec(jobA)], grants });
}

function commit(...committed: Token[]): void {
  link().send({ committed } satisfies Partial<CoordinatorMessage>);
}

/** The bytes that came with the first report of a result. */
function bytesOf({ counter }: Token): Buffer {
  for (const { message, inline } of coordinator.received) {
    const place = message.results.findIndex((result) => result.token.counter === counter);
    if (place < 0) continue;
    if (message.results[place]?.isUploaded !== true) return Buffer.from(inline[place] ?? []);
    return coordinator.uploads.get(formatToken(token(counter))) ?? Buffer.alloc(0);
  }
  return Buffer.from('no report');
}

beforeEach(() => {
  fates = new Map();
  rowBytes = 12;
  customBytes = 0;
  vi.stubGlobal('setImmediate', (what: () => void) => world.immediate(what));
});
afterEach(() => vi.unstubAllGlobals());

describe('a simulated worker node', () => {
  it.each([
    ['that fits a message', 12, false],
    ['that must be uploaded', 900, true],
    ['that is larger than the credit', 5_000, true],
  ])('sends a result %s, byte for byte', async (_what, bytes, isUploaded) => {
    rowBytes = bytes;
    customBytes = 30;
    build();
    await playFor(4_000);
    lease([1]);
    await playFor(20_000);
    const [result] = results();
    const body = bodyOf(input, [10, 11, 12]);
    expect([result?.isUploaded, result?.bytes, result?.customBytes]).toEqual([
      isUploaded,
      3 * bytes,
      body.custom.length,
    ]);
    const whole = bytesOf(token(1));
    expect(unmarked(whole.toString('latin1'))).toBe(Buffer.concat([body.rows, body.custom]).toString('latin1'));
    expect([result?.crc32, result?.customCrc32]).toEqual([crc32(whole.subarray(0, 3 * bytes)), crc32(body.custom)]);
    const lines = whole
      .subarray(0, 3 * bytes)
      .toString()
      .split('\n');
    expect(lines.map(fileOfRow)).toEqual([10, 11, 12, null]);
    expect(node.held).toBe(1);
    commit(token(1));
    await playFor(4_000);
    expect([node.held, faults]).toEqual([0, []]);
  });

  it('gives the row of every file its length, whatever the ordinal', () => {
    for (const [file, bytes] of [
      [0, 5],
      [9_999, 5],
      [7, 300],
    ] as const) {
      const { rows } = bodyOf({ ...input, rowsBytes: () => bytes }, [file]);
      expect([rows.length, fileOfRow(rows.subarray(0, -1).toString()), rows.at(-1)]).toEqual([bytes, file, 10]);
    }
  });

  it('tells of files that cannot be read or decoded, and scores the others', async () => {
    fates.set(10, 'unreadable').set(12, 'undecodable');
    build();
    await playFor(4_000);
    lease([1]);
    await playFor(10_000);
    const [result] = results();
    expect(result?.summary.failed.map(({ index, code }) => [index, code])).toEqual([
      [0, 'INPUT_UNREADABLE'],
      [2, 'INPUT_DECODE_FAILED'],
    ]);
    expect([result?.summary.rows, result?.summary.fileRows]).toEqual([1, [0, 1, 0]]);
    expect(unmarked(bytesOf(token(1)).toString())).toBe('11.........\n');
  });

  const codes = {
    ...{ error: 'SCORER_FAILED', disk: 'DISK_FULL', crash: 'SCORER_CRASHED', hang: 'SCORER_TIMEOUT' },
    ...{ late: 'SCORER_TIMEOUT', memory: 'SCORER_OUT_OF_MEMORY', hungry: 'SCORER_OUT_OF_MEMORY' },
  } as const;
  it.each(Object.keys(codes) as (keyof typeof codes)[])('fails the mini-batch of a file that is %s', async (fate) => {
    fates.set(11, fate);
    // On every node.
    const sick = fate === 'disk' ? { sickness: fate } : {};
    build(sick);
    await playFor(4_000);
    lease([1]);
    await playFor(60_000);
    expect(failures().map(({ failure }) => failure.code)).toEqual([codes[fate]]);
    expect([results(), node.held]).toEqual([[], 0]);
    // The node goes on.
    fates.clear();
    if (fate === 'disk') return;
    lease([2]);
    await playFor(10_000);
    expect(results().map((result) => result.token.counter)).toEqual([2]);
  });

  it('scores a file alone that takes all the memory there is', async () => {
    fates.set(10, 'hungry');
    build();
    await playFor(4_000);
    link().send({ jobs: [jobSpec(jobA)], grants: [grant(1, { files: 1, isAlone: true }), grant(2), grant(3)] });
    await playFor(20_000);
    const scored = new Set(results().map((result) => result.token.counter));
    expect([scored, failures(), faults]).toEqual([new Set([1, 2, 3]), [], []]);
  });

  it('keeps its leases over a lost connection and reports what came of them', async () => {
    build({ scoreMs: [500, 1_000] });
    await playFor(4_000);
    lease([1, 2]);
    await whenever(() => node.held === 2);
    network.cut(node.name);
    await playFor(30_000);
    expect(new Set(results().map((result) => result.token.counter))).toEqual(new Set([1, 2]));
    expect(coordinator.joins.length).toBeGreaterThan(1);
    expect(new Set(coordinator.joins.map(({ incarnation }) => incarnation)).size).toBe(1);
  });

  it('has forgotten all when it is killed, and is another process when it is started again', async () => {
    build();
    await playFor(4_000);
    lease([1, 2]);
    await whenever(() => node.held === 2);
    node.kill();
    expect([node.isUp, node.held]).toEqual([false, 0]);
    await playFor(3_000);
    node.start();
    await playFor(6_000);
    expect(coordinator.joins.map(({ incarnation }) => incarnation)).toEqual(['node-0/1', 'node-0/2']);
    expect([results(), node.held]).toEqual([[], 0]);
  });

  it.each(['drain', 'leave'] as const)('comes back after a %s', async (how) => {
    build({ scoreMs: [1_000, 1_000], slots: 1 });
    await playFor(4_000);
    lease([1, 2]);
    await whenever(() => node.isScoring(token(1)));
    node[how]();
    await playFor(20_000);
    expect(messages().some(({ isLeaving }) => isLeaving)).toBe(true);
    const returned = messages().flatMap((message) => message.returned.map(({ counter }) => counter));
    expect(returned).toContain(2);
    expect(new Set(results().map((result) => result.token.counter))).toEqual(new Set(how === 'drain' ? [1] : []));
    commit(token(1));
    await playFor(30_000);
    expect([node.isUp, coordinator.joins.length]).toEqual([true, 2]);
  });

  it('does nothing while it is frozen', async () => {
    build();
    await playFor(4_000);
    node.freeze(9_000);
    const before = coordinator.received.length;
    lease([1]);
    await playFor(8_900);
    expect([coordinator.received.length, node.held]).toEqual([before, 0]);
    await playFor(10_000);
    expect(results().length).toBeGreaterThan(0);
  });

  it('goes by its own clock', async () => {
    const beatsOf = async (rate: number): Promise<number> => {
      build({ clock: { offsetMs: 0, rate } });
      await playFor(600_000);
      return messages().filter(({ heartbeat }) => heartbeat !== null).length;
    };
    const [slow, fast] = [await beatsOf(0.9), await beatsOf(1.1)];
    expect([Math.abs(slow - 108) <= 2, Math.abs(fast - 132) <= 2]).toEqual([true, true]);
  });

  it('puts off files that come from a coordinator that is not there', async () => {
    build({ isRemote: true });
    await playFor(4_000);
    lease([1]);
    await whenever(() => node.held === 1);
    network.cut(node.name);
    network.refuse(node.name, 20_000);
    await playFor(15_000);
    expect([node.held, results()]).toEqual([1, []]);
    await playFor(60_000);
    expect(results().map((result) => result.token.counter)).toContain(1);
  });

  it('does the same thing twice for the same seed', async () => {
    const story = async (seed: number): Promise<string> => {
      build({}, seed);
      await playFor(4_000);
      lease([1, 2, 3]);
      world.after(1_000, () => network.cut(node.name));
      await playFor(60_000);
      return JSON.stringify(coordinator.received.map(({ at, message }) => [at, message]));
    };
    const [a, b, c] = [await story(5), await story(5), await story(6)];
    expect(b).toBe(a);
    expect(c).not.toBe(a);
  });
});

describe('a node whose reports do not fit its results', () => {
  it('sends what the ledger refuses, or what does not fit the bytes that were uploaded', async () => {
    rowBytes = 300;
    build({ sickness: 'wrong-count' });
    await playFor(4_000);
    lease(Array.from({ length: 40 }, (_, index) => index + 1));
    await playFor(60_000);
    expect(new Set(results().map((result) => result.token.counter)).size).toBe(40);
    for (const result of results()) {
      const whole = coordinator.uploads.get(formatToken(result.token));
      const isWhole = result.bytes + result.customBytes === whole?.length && result.crc32 === crc32(whole);
      expect(isRefused(result.summary) || !isWhole).toBe(true);
    }
  });

  it('never says anything of a small result that the coordinator would take', () => {
    const random = new Random(3);
    const summary = { ...bodyless, rows: 3, fileRows: [1, 1, 1] };
    const bytes = { bytes: 36, crc32: 1, customBytes: 0, customCrc32: 0 };
    const report = { ...{ token: token(1), summary, isUploaded: false }, ...bytes };
    const wrong = Array.from({ length: 200 }, () => wronged(report, random));
    // Bytes that are not what their report says are refused before the ledger hears of them.
    const isSent = (one: ResultReport): boolean =>
      Object.entries(bytes).every(([key, sent]) => one[key as 'bytes'] === sent);
    expect(wrong.filter((one) => !one.isUploaded && isSent(one) && !isRefused(one.summary))).toEqual([]);
    expect(wrong.some((one) => one.isUploaded)).toBe(true);
  });
});

const bodyless = {
  attribution: 'file',
  failed: [],
  schema: null,
  runSeconds: 0,
  peakMemoryBytes: null,
} as const;

/** By the real ledger, as the result of a mini-batch of three files. */
function isRefused(summary: NodeMessage['results'][number]['summary']): boolean {
  const h = new Harness()
    .submit({ miniBatchSize: { kind: 'files', files: 3 } })
    .list(...files(3))
    .endList();
  const a = h.node('a', 1);
  const [lease] = h.grants();
  h.result(a, lease as Token, { summary });
  return h.take().some(({ kind }) => kind === 'refuse');
}
