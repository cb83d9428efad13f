/** A simulated worker node that makes parts of an output: it gets their rows from the coordinator. */
import './small-limits.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import type { PartsForm } from '../../common/core/parts-form.ts';
import { formatToken } from '../../common/core/token.ts';
import type { NodeLink } from '../../coordinator/service/node-link.ts';
import { grant, jobA, jobSpec, token } from '../helpers/worker-rig.ts';
import { SimNetwork } from './network.ts';
import { ScriptedCoordinator } from './scripted-coordinator.ts';
import { bodyOfPart, prologue, rowOf } from './sim-input.ts';
import { WorkerProcess } from './worker-process.ts';
import { World } from './world.ts';

const parts: PartsForm = {
  ...{
    format: 'csv',
    partitionBy: [],
    header: true,
    fileRows: 40,
    fileBytes: null,
    rowGroupRows: 100,
    compression: 'none',
  },
};
/** More than a few pieces. */
const data = Buffer.concat([Buffer.from(prologue), ...[7, 8, 9].map((file) => rowOf(file, 4_000))]);
const name = 'part-00000.csv';

let world: World;
let coordinator: ScriptedCoordinator;
let network: SimNetwork;
let node: WorkerProcess;

beforeEach(async () => {
  vi.stubGlobal('setImmediate', (what: () => void) => world.immediate(what));
  world = new World(1);
  coordinator = new ScriptedCoordinator(world);
  coordinator.isInitialised = () => false;
  coordinator.onReceive = (link, message) => {
    const held = message.hello ?? [];
    if (message.hello) link.send({ adoption: held.map((one) => ({ oldToken: one.token, newToken: one.token })) });
  };
  network = new SimNetwork({ world, coordinator });
  const input = { fateOf: () => 'error' as const, rowsBytes: () => 9, customBytes: () => 0 };
  const plan = {
    ...{ name: 'node-0', slots: 1, slowMs: 0, sickness: null, isRemote: false, spoolBytesMax: 1_000_000 },
    ...{ scoreMs: [10, 100] as const, clock: { offsetMs: 0, rate: 1 }, joinToken: 't' },
  };
  node = new WorkerProcess({ world, network, coordinator, input, plan, faults: [] });
  node.start();
  await playFor(4_000);
});
afterEach(() => vi.unstubAllGlobals());

function playFor(ms: number): Promise<boolean> {
  const until = world.now + ms;
  world.at(until, () => undefined);
  return world.play(until, () => false);
}

/** The file in pieces of `fetchChunkBytes`; `onPiece` hears how much has gone. */
async function* pieces(offset: number, onPiece: (sent: number) => void = () => undefined): AsyncGenerator<Uint8Array> {
  for (let at = offset; at < data.length; at += limits.fetchChunkBytes) {
    yield await Promise.resolve(data.subarray(at, at + limits.fetchChunkBytes));
    onPiece(at);
  }
}

function lease(sizeBytes = data.length): void {
  const given = grant(1, { first: 0, files: 1 });
  const spec = jobSpec(jobA);
  const scorer = { kind: 'encode', parts, rows: 'csv', metadata: {} } as const;
  const files = [{ path: name, sizeBytes, identity: 'rows-0-9' }];
  (coordinator.links[0] as NodeLink).send({ jobs: [{ ...spec, scorer }], grants: [{ ...given, files }] });
}

const results = (): readonly unknown[] => coordinator.received.flatMap(({ message }) => message.results);
const failures = (): readonly string[] =>
  coordinator.received.flatMap(({ message }) => message.failures.map(({ failure }) => failure.code));

describe('a part of an output', () => {
  it('comes back as the file that it is and a line that tells of it', async () => {
    coordinator.onInput = (offset) => pieces(offset);
    lease();
    await playFor(20_000);
    const { rows, custom } = bodyOfPart({ name, data });
    expect(rows.toString()).toBe(`{"path":"${name}","rows":3,"bytes":${data.length}}\n`);
    expect(results()).toMatchObject([{ bytes: rows.length, customBytes: custom.length, summary: { rows: 1 } }]);
    expect(coordinator.uploads.get(formatToken(token(1)))?.equals(Buffer.concat([rows, custom]))).toBe(true);
    expect(coordinator.asked).toEqual([{ ordinal: 0, identity: 'rows-0-9', offset: 0 }]);
  });

  it('is fetched on from where its stream broke', async () => {
    let breaks = 0;
    coordinator.onInput = (offset) =>
      pieces(offset, (sent) => {
        if (breaks > 0 || sent < 4_000) return;
        breaks += 1;
        throw new BatchError('COORDINATOR_UNREACHABLE', 'broken');
      });
    lease();
    await playFor(20_000);
    expect(coordinator.asked.map(({ offset }) => offset)).toEqual([0, 5 * limits.fetchChunkBytes]);
    expect([results().length, failures()]).toEqual([1, []]);
  });

  it('is put off when its stream breaks again and again, and is no failed attempt', async () => {
    coordinator.onInput = () => {
      throw new BatchError('COORDINATOR_UNREACHABLE', 'broken');
    };
    lease();
    // All that one staging tries, and the first of the next.
    await world.play(world.now + 60_000, () => coordinator.asked.length > limits.fetchFailuresMax);
    coordinator.onInput = (offset) => pieces(offset);
    await playFor(60_000);
    expect([results().length, failures()]).toEqual([1, []]);
  });

  it('fails with what the coordinator says of its rows', async () => {
    coordinator.onInput = () => {
      throw new BatchError('OUTPUT_CORRUPT', 'the rows are not what was committed');
    };
    lease();
    await playFor(20_000);
    expect([results(), failures()]).toEqual([[], ['OUTPUT_CORRUPT']]);
  });

  it('is a file that cannot be read when other bytes come than were listed', async () => {
    coordinator.onInput = (offset) => pieces(offset);
    lease(data.length + 1);
    await playFor(20_000);
    expect(results()).toMatchObject([{ summary: { rows: 0, failed: [{ index: 0, code: 'INPUT_CHANGED' }] } }]);
  });

  it('is fetched no further once nobody wants it', async () => {
    coordinator.onInput = (offset) =>
      pieces(offset, (sent) => {
        if (sent === 0) coordinator.links[0]?.send({ revoked: [token(1)] });
      });
    lease();
    await playFor(20_000);
    expect([results(), failures(), node.held]).toEqual([[], [], 0]);
  });
});
