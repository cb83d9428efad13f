/** Logs on their way: only new bytes, from where the coordinator says it is, and nothing twice. */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { jobName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { silentLog } from '../../common/io/log.ts';
import type { ShippedPiece } from '../../worker/log-lane.ts';
import { LogShipper, type LogRoute } from '../../worker/log-shipper.ts';

const job = jobName('a');
const name = 'user/stdout/process000.stdout.txt';

/** What a coordinator has, and all that it was sent. */
class FakeRoute {
  readonly files: Map<string, Buffer>;
  readonly pieces: { readonly name: string; readonly offset: number; readonly bytes: number }[] = [];
  /** The answer to this piece is lost, counted from 1; whether the piece itself arrives. */
  breaksAt: { readonly piece: number; readonly arrives: boolean } | null = null;
  refused = '';
  #sends = 0;

  constructor(files = new Map<string, Buffer>()) {
    this.files = files;
  }

  readonly isBusy = (): boolean => false;

  readonly send = async ({ name: to, offset, data }: ShippedPiece): Promise<number> => {
    await Promise.resolve();
    this.#sends += 1;
    this.pieces.push({ name: to, offset, bytes: data.length });
    if (to === this.refused) throw new BatchError('REQUEST_INVALID', 'no such name');
    const isBroken = this.breaksAt?.piece === this.#sends;
    if (!isBroken || this.breaksAt?.arrives === true) this.#take(to, offset, data);
    if (isBroken) throw new BatchError('COORDINATOR_UNREACHABLE', 'gone');
    return this.files.get(to)?.length ?? 0;
  };

  #take(to: string, offset: number, data: Uint8Array): void {
    const here = this.files.get(to) ?? Buffer.alloc(0);
    if (data.length === 0 || (offset !== here.length && offset !== 0)) return;
    this.files.set(to, Buffer.concat([here.subarray(0, offset), data]));
  }
}

describe('logs on their way to the coordinator', () => {
  let dir: string;
  let route: (LogRoute & FakeRoute) | null = null;
  let shipper: LogShipper;
  let tick: () => void = () => undefined;

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'batchmill-ship-'));
    route = new FakeRoute();
    const delay = (_ms: number, signal: AbortSignal): Promise<void> =>
      new Promise((resolve) => {
        tick = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    shipper = new LogShipper({ logsDir: () => dir, route: () => route, delay, log: silentLog });
    shipper.watch(job);
  });
  afterEach(async () => {
    await shipper.close();
    rmSync(dir, { recursive: true, force: true });
  });

  const write = (path: string, text: string | Buffer): void => {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    appendFileSync(join(dir, path), text);
  };
  const current = (): FakeRoute => {
    if (!route) throw new Error('there is no route');
    return route;
  };
  /** One look at what is new. */
  const pass = async (): Promise<void> => {
    const before = tick;
    tick();
    while (tick === before) await new Promise((resolve) => setImmediate(resolve));
  };

  it('are sent once, and then only what is new', async () => {
    write(name, 'one\n');
    await pass();
    await pass();
    write(name, 'two\n');
    await pass();
    expect(current().pieces).toEqual([
      { name, offset: 0, bytes: 4 },
      { name, offset: 4, bytes: 4 },
    ]);
    expect(current().files.get(name)?.toString()).toBe('one\ntwo\n');
  });

  it.each([true, false])('go on after a break where the coordinator is; the piece arrived: %s', async (arrives) => {
    const text = Buffer.alloc(3 * limits.logPieceBytes, 'abcdefghij');
    write(name, text);
    current().breaksAt = { piece: 2, arrives };
    await pass();
    const { files } = current();
    const wanted = arrives ? 2 * limits.logPieceBytes : limits.logPieceBytes;
    expect(files.get(name)?.length).toBe(wanted);
    route = null;
    await pass();
    route = new FakeRoute(files);
    await shipper.finish(job);
    expect(files.get(name)?.equals(text)).toBe(true);
    // Asked first, then from there on: no byte that was there goes again.
    expect(current().pieces.slice(0, 2)).toEqual([
      { name, offset: 0, bytes: 0 },
      { name, offset: wanted, bytes: limits.logPieceBytes },
    ]);
    expect(current().pieces.reduce((sum, piece) => sum + piece.bytes, 0)).toBe(text.length - wanted);
  });

  it('that cannot be read hold up no other', async () => {
    const good = ['user/a.txt', 'user/b.txt', 'user/c.txt', 'user/d.txt', name];
    for (const path of good) write(path, 'one\n');
    // Found, and not to be found by the text that its name is read as.
    writeFileSync(Buffer.from(`${join(dir, 'user', 'caf')}\xe9.txt`, 'latin1'), 'x');
    await pass();
    await shipper.finish(job);
    expect([...current().files.keys()].sort()).toEqual(good);
  });

  it('that are refused are not sent again, and hold up no other', async () => {
    write('sys/mini_batches/process000.jsonl', '{}\n');
    write(name, 'one\n');
    current().refused = 'sys/mini_batches/process000.jsonl';
    await pass();
    await pass();
    expect(
      current()
        .pieces.map((piece) => piece.name)
        .sort(),
    ).toEqual(['sys/mini_batches/process000.jsonl', name]);
    expect(current().files.get(name)?.toString()).toBe('one\n');
  });

  it('that user code writes anew are sent anew', async () => {
    const path = 'user/mlruns/0/meta.yaml';
    write(path, 'status: running\n');
    await pass();
    writeFileSync(join(dir, path), 'status: finished\n');
    await pass();
    expect(current().files.get(path)?.toString()).toBe('status: finished\n');
  });
});
