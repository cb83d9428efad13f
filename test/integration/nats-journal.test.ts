/** The journal's stream on a real NATS server: who appends, what a lost answer leaves, what a server does that dies. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from '@nats-io/transport-node';
import { jetstreamManager, StorageType } from '@nats-io/jetstream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import type { Failure } from '../../common/core/batch-error.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { Journal } from '../../coordinator/journal/journal.ts';
import { NatsStream } from '../../coordinator/journal/stream/nats-stream.ts';
import { verifyStream } from '../../coordinator/journal/stream/verify-stream.ts';
import { StreamWriter } from '../../coordinator/journal/stream/stream-writer.ts';
import { failing } from '../helpers/failing.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { NatsServer } from '../helpers/nats-server.ts';

let dir: string;
let server: NatsServer;
const closers: (() => Promise<void>)[] = [];
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-nats-'));
  server = await new NatsServer(dir).start();
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
  await server.kill();
  rmSync(dir, { recursive: true });
});

const never = new AbortController().signal;
const text = (bytes: Uint8Array | null): string | null => bytes && Buffer.from(bytes).toString();

async function opened(name = 'test'): Promise<NatsStream> {
  const stream = await NatsStream.open({ servers: [server.address], name, replicas: 1 });
  closers.push(() => stream.close());
  return stream;
}

async function writer(stream: NatsStream, onStall: (failure: Failure | null) => void = () => undefined) {
  const { last } = await stream.ends();
  return new StreamWriter({ stream, place: last, clock: systemClock, delay, onStall });
}

describe('a stream', () => {
  it('is appended to in order, read from any place, trimmed, and is the same after its server was killed', async () => {
    const stream = await opened();
    expect(await stream.ends()).toEqual({ first: 1, last: 0 });
    const appender = await writer(stream);
    for (const group of ['one', 'two', 'three']) expect(await appender.append(Buffer.from(group), never)).toBe(true);
    await stream.trim(2);
    expect(await stream.ends()).toEqual({ first: 2, last: 3 });
    await server.kill();
    await server.start();
    const again = await opened();
    expect(await again.ends()).toEqual({ first: 2, last: 3 });
    expect([text(await again.get(1)), text(await again.get(3)), text(await again.get(4))]).toEqual([
      null,
      '\0three',
      null,
    ]);
    const over = new AbortController();
    const followed: string[] = [];
    const following = (async () => {
      for await (const { place, bytes } of again.follow(2, over.signal)) {
        followed.push(`${place} ${text(bytes)?.slice(1)}`);
        if (place === 4) over.abort();
      }
    })();
    expect(await (await writer(again)).append(Buffer.from('four'), never)).toBe(true);
    await following;
    expect(followed).toEqual(['2 two', '3 three', '4 four']);
  });

  it('takes a group that is larger than a message in pieces', async () => {
    const stream = await opened();
    const group = Buffer.alloc(2_000_000, 'rows');
    expect(await (await writer(stream)).append(group, never)).toBe(true);
    const pieces = [await stream.get(1), await stream.get(2), await stream.get(3)];
    expect(pieces.map((piece) => piece?.[0])).toEqual([0, 1, 1]);
    expect(Buffer.concat(pieces.map((piece) => piece?.subarray(1) ?? Buffer.of())).equals(group)).toBe(true);
  });

  it('is one coordinator’s: who appended last has the others refused', async () => {
    const [a, b] = [await opened(), await opened()];
    const [old, next] = [await writer(a), await writer(b)];
    await old.append(Buffer.from('old'), never);
    await expect(next.append(Buffer.from('next'), never)).rejects.toThrow(
      failing('JOURNAL_FENCED', 'another coordinator'),
    );
    expect((await a.ends()).last).toBe(1);
  });

  it('takes a group once whose first answer was lost', async () => {
    const stream = await opened();
    const answers: string[] = [];
    const deaf = Object.assign(Object.create(stream) as NatsStream, {
      publish: async (bytes: Uint8Array, after: number) => {
        const published = await stream.publish(bytes, after);
        answers.push(published.kind);
        return answers.length === 1 ? ({ kind: 'unknown', reason: 'lost' } as const) : published;
      },
      ends: () => stream.ends(),
      get: (place: number) => stream.get(place),
    });
    expect(await (await writer(deaf)).append(Buffer.from('once'), never)).toBe(true);
    expect([answers, (await stream.ends()).last]).toEqual([['stored', 'refused'], 1]);
  });

  it('that has lost what it acknowledged is not appended to', async () => {
    const stream = await opened();
    const appender = await writer(stream);
    await appender.append(Buffer.from('one'), never);
    const connection = await connect({ servers: server.address });
    const manager = await jetstreamManager(connection);
    await manager.streams.delete('BATCHMILL_test_JOURNAL');
    await connection.close();
    await opened();
    await expect(appender.append(Buffer.from('two'), never)).rejects.toThrow(
      failing('JOURNAL_STREAM_LOST', 'ends at message 0'),
    );
  });
});

it('a journal on an empty disk has all records of the one before, out of a snapshot and the messages behind it', async () => {
  const open = async (name: string) => {
    const records: string[] = [];
    const dirOf = join(dir, name);
    mkdirSync(dirOf);
    const journal = await Journal.open({
      ...{ dir: dirOf, stream: await opened(), onRecord: (record) => void records.push(record as string) },
      ...{ onSynced: () => undefined, onStall: () => undefined },
      onFatal: (error) => {
        throw error;
      },
      sizes: { segmentBytes: 1e6, groupBytesMax: 524_288, reserveBytes: 0, snapshotBytes: 100_000 },
      image: {
        take: () => {
          const bytes = Buffer.from(JSON.stringify(records));
          return { bytes: bytes.length, pieces: [bytes] };
        },
        load: (content) => void records.push(...(JSON.parse(content.toString()) as string[])),
      },
    });
    closers.push(() => journal.close());
    return { journal, records };
  };
  const first = await open('first');
  for (let index = 0; index < 60; index += 1) {
    const record = `${index} ${'x'.repeat(10_000)}`;
    first.records.push(record);
    const sequence = first.journal.append(record);
    await vi.waitFor(() => expect(first.journal.syncedSequence).toBe(sequence), 20_000);
  }
  const stream = await opened();
  await vi.waitFor(async () => expect((await stream.ends()).first).toBeGreaterThan(1), 10_000);
  expect((await stream.snapshots()).length).toBe(2);
  const report = await verifyStream(stream);
  expect(report).toMatchObject({ last_record: 60, damage: null, snapshots: [{ is_whole: true }, { is_whole: true }] });
  const second = await open('second');
  expect(second.records).toEqual(first.records);
  expect(second.journal.recovery.snapshot).toBeGreaterThan(0);
});

it('a coordinator goes on with its jobs when the journal of its disk is gone, and holds nothing back while NATS is', async () => {
  const listener = await connect({ servers: server.address });
  closers.push(() => listener.close());
  const heard: { readonly subject: string; readonly body: Record<string, unknown> }[] = [];
  listener.subscribe('batchmill.lab.*.>', {
    callback: (_error, message) => void heard.push({ subject: message.subject, body: message.json() }),
  });
  await listener.flush();
  const cluster = await LocalCluster.start({ journal: { servers: [server.address], name: 'lab', replicas: 1 } });
  closers.push(() => cluster.close());
  const input = join(cluster.dir, 'in');
  writeInputs(
    input,
    Array.from({ length: 20 }, (_, index) => [`${String(index).padStart(2, '0')}.txt`, `${index}`] as const),
  );
  writeFileSync(
    join(cluster.dir, 'slow.mjs'),
    `export const run = async (files) => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return files.map((file) => file.split('/').at(-1));
    };`,
  );
  const deployment = await loadDeployment(join(cluster.dir, 'slow.mjs'), { set: ['settings.mini_batch_size=1'] });
  const { jobs } = cluster.coordinator;
  const outputDir = join(cluster.dir, 'out');
  await jobs.submit({ deployment, inputPath: input, outputDir, isOverwrite: false, name: 'lasting' });
  await cluster.join('a', 2);
  await vi.waitFor(() => expect(jobs.show('lasting').rows).toBeGreaterThan(3), 20_000);
  await vi.waitFor(() => {
    const subjects = heard.map(({ subject }) => subject);
    expect(subjects).toEqual(
      expect.arrayContaining(['batchmill.lab.nodes.a.joined', 'batchmill.lab.jobs.lasting.state']),
    );
  });
  const running = heard.find(({ body }) => body['status'] === 'Running' && body['kind'] === 'state');
  expect(running?.body).toMatchObject({ version: 1, job: 'lasting', files: { total: 20 } });
  await cluster.coordinator.close();
  rmSync(join(cluster.dir, 'state', 'journal'), { recursive: true });
  const [, port] = cluster.coordinator.listen.split(':');
  cluster.coordinator = await cluster.open({
    ...{ journal: { servers: [server.address], name: 'lab', replicas: 1 }, listen: `127.0.0.1:${port}` },
  });
  await server.kill();
  await server.start();
  const again = cluster.coordinator.jobs;
  await vi.waitFor(() => expect(again.show('lasting').status).toBe('Completed'), 30_000);
  expect(again.show('lasting')).toMatchObject({ rows: 20, files: { scored: 20, failed: 0 } });
});

it('an append waits for a server that stands still or is gone, and says so', async () => {
  const stream = await opened();
  const stalls: (string | null)[] = [];
  let now = 0;
  const clock = { ...systemClock, monotonic: () => (now += 6_000) as ReturnType<typeof systemClock.monotonic> };
  const appender = new StreamWriter({
    ...{ stream, place: 0, clock, delay },
    onStall: (failure) => void stalls.push(failure && failure.code),
  });
  await server.kill();
  const appending = appender.append(Buffer.from('late'), never);
  await vi.waitFor(() => expect(stalls).toEqual(['JOURNAL_STREAM_STALLED']), 30_000);
  await server.start();
  expect(await appending).toBe(true);
  expect([stalls, (await stream.ends()).last]).toEqual([['JOURNAL_STREAM_STALLED', null], 1]);
});

it('a stream that could lose records is refused by what is wrong with it, and so is a server that is not there', async () => {
  const connection = await connect({ servers: server.address });
  const manager = await jetstreamManager(connection);
  await manager.streams.add({
    ...{ name: 'BATCHMILL_lax_JOURNAL', subjects: ['batchmill.lax.journal'], storage: StorageType.Memory },
  });
  await connection.close();
  await expect(opened('lax')).rejects.toThrow(failing('JOURNAL_STREAM_UNFIT', 'its storage is memory'));
  const { address } = server;
  await server.kill();
  await expect(opened()).rejects.toThrow(failing('JOURNAL_STREAM_UNREACHABLE', address));
});

it('one of several leads; when it does not renew its lease another does, at once when it resigns', async () => {
  const stream = await opened();
  const [a, b] = [
    await stream.election('a', delay, systemClock),
    await (await opened()).election('b', delay, systemClock),
  ];
  const [endA, endB] = [new AbortController(), new AbortController()];
  expect(await a.won(never)).toBe(true);
  const next = b.won(endB.signal);
  const held = a.held(endA.signal);
  expect([await b.leader(), await a.leader()]).toEqual(['a', 'a']);
  // It stands still for longer than its lease, and finds another when it goes on.
  endA.abort();
  expect(await held).toBeNull();
  expect(await next).toBe(true);
  expect(await a.held(never)).toBe('b');
  await b.resign();
  expect(await a.leader()).toBeNull();
  expect(await a.won(never)).toBe(true);
});

it('whoever stood still while another one led and went does not lead again as if nothing had been', async () => {
  const stream = await opened('stood');
  const [a, b] = [
    await stream.election('a', delay, systemClock),
    await (await opened('stood')).election('b', delay, systemClock),
  ];
  expect(await a.won(never)).toBe(true);
  // Not renewed, it expires.
  expect(await b.won(never)).toBe(true);
  await b.resign();
  expect(await a.held(never)).toBe('');
  expect(await b.won(never)).toBe(true);
});
