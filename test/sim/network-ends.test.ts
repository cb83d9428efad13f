import './small-limits.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { name, NetworkRig, noticedMsMax, upTo } from './network-rig.ts';
import type { UploadChannel } from './upload-channel.ts';

let rig: NetworkRig;

function build(seed: number): void {
  rig = new NetworkRig(seed);
}

/** A stream on which both sides have spoken. */
async function connected(seed = 1): Promise<void> {
  build(seed);
  await rig.playFor(4_000);
  rig.peer.say(1_000_000);
  await rig.playFor(4_000);
  rig.coordinator.received.length = 0;
}

beforeEach(() => vi.stubGlobal('setImmediate', (what: () => void) => rig.world.immediate(what)));
afterEach(() => vi.unstubAllGlobals());

describe('a connection that ends', () => {
  it('is noticed by both ends when it is cut', async () => {
    for (const seed of upTo(20)) {
      await connected(seed);
      const { now } = rig.world;
      rig.network.cut(name);
      rig.peer.say(1);
      await rig.playFor(10_000);
      expect([rig.codes(), rig.said()]).toEqual([['COORDINATOR_UNREACHABLE'], []]);
      const notices = [rig.peer.lost[0]?.at ?? Infinity, rig.coordinator.disconnectedAt[0] ?? Infinity].map(
        (at) => at - now,
      );
      expect(Math.max(...notices)).toBeLessThanOrEqual(2_000);
    }
  });

  it.each(['node', 'coordinator'] as const)('at the %s alone is noticed late by the other end', async (side) => {
    const lateMs: number[] = [];
    for (const seed of upTo(40)) {
      await connected(seed);
      const { now } = rig.world;
      rig.network.halfOpen(name, side);
      await rig.playFor(60_000);
      const at = { node: rig.peer.lost[0]?.at ?? Infinity, coordinator: rig.coordinator.disconnectedAt[0] ?? Infinity };
      expect(at[side]).toBe(now);
      lateMs.push(at[side === 'node' ? 'coordinator' : 'node'] - now);
    }
    expect(Math.max(...lateMs)).toBeLessThan(noticedMsMax);
    // Some are told when they ping, others hear nothing at all.
    expect(lateMs.filter((ms) => ms < limits.keepaliveMs + 100).length).toBeGreaterThan(5);
    expect(lateMs.filter((ms) => ms > limits.keepaliveTimeoutMs + 100).length).toBeGreaterThan(5);
  });

  it('is noticed at once by an end that writes, where something answers', async () => {
    const told: number[] = [];
    for (const seed of upTo(20)) {
      await connected(seed);
      rig.network.halfOpen(name, 'coordinator');
      const { now } = rig.world;
      rig.peer.say(1);
      await rig.playFor(200);
      if (rig.peer.lost[0]) told.push(rig.peer.lost[0].at - now);
      expect(rig.said()).toEqual([]);
    }
    expect(told.length).toBeGreaterThan(3);
    expect(told.length).toBeLessThan(17);
  });

  it('is told to the coordinator behind all that was said, when the node leaves in good order', async () => {
    for (const seed of upTo(20)) {
      await connected(seed);
      // Its first ping is over; one that found the node gone would end the connection sooner.
      await rig.playFor(4_000);
      let isDone = false;
      for (const want of upTo(5)) rig.peer.say(want);
      rig.peer.channel.end(() => (isDone = true));
      await rig.playFor(5_000);
      expect([rig.said(), isDone, rig.coordinator.disconnectedAt.length, rig.codes()]).toEqual([upTo(5), true, 1, []]);
    }
  });

  it('is told to the node behind all that was said, when the coordinator closes it', async () => {
    await connected();
    const [link] = rig.coordinator.links;
    link?.send({ heartbeatAck: 3 });
    await rig.playFor(0);
    link?.close();
    await rig.playFor(4_000);
    expect(rig.peer.heard.map(({ heartbeatAck }) => heartbeatAck)).toEqual([3]);
    expect([rig.codes(), rig.coordinator.disconnectedAt.length]).toEqual([['COORDINATOR_UNREACHABLE'], 1]);
  });
});

describe('a process that dies', () => {
  it('of the coordinator takes what was on its way with it, and its nodes learn of it soon', async () => {
    for (const seed of upTo(20)) {
      await connected(seed);
      rig.peer.say(1);
      rig.coordinator.kill();
      rig.network.coordinatorDied(false);
      rig.coordinator.isUp = true;
      await rig.playFor(2_100);
      expect([rig.codes(), rig.said(), rig.coordinator.disconnectedAt]).toEqual([['COORDINATOR_UNREACHABLE'], [], []]);
    }
  });

  it('of the coordinator is found out by the keepalive when its machine dies with it', async () => {
    await connected();
    const { now } = rig.world;
    rig.coordinator.kill();
    rig.network.coordinatorDied(true);
    rig.peer.say(1);
    await rig.playFor(10_000);
    expect(rig.codes()).toEqual([]);
    await rig.playFor(noticedMsMax);
    expect(rig.codes()).toEqual(['COORDINATOR_UNREACHABLE']);
    expect((rig.peer.lost[0]?.at ?? 0) - now).toBeGreaterThan(limits.keepaliveTimeoutMs);
    rig.peer.join();
    await rig.playFor(limits.joinCallMsMax + 1);
    expect(rig.codes()).toEqual(['COORDINATOR_UNREACHABLE', 'COORDINATOR_UNREACHABLE']);
  });

  it('of the coordinator is told at once to whoever writes after its machine is back', async () => {
    await connected();
    rig.coordinator.kill();
    rig.network.coordinatorDied(true);
    await rig.playFor(1_000);
    rig.coordinator.isUp = true;
    rig.peer.say(1);
    await rig.playFor(3_100);
    expect([rig.codes(), rig.said()]).toEqual([['COORDINATOR_UNREACHABLE'], []]);
  });

  it('of the coordinator lets nobody in before the next', async () => {
    build(1);
    rig.coordinator.kill();
    rig.network.coordinatorDied(false);
    await rig.playFor(3_100);
    expect([rig.codes(), rig.network.counts.get('refused')]).toEqual([['COORDINATOR_UNREACHABLE'], 1]);
  });

  it.each([
    [false, 2_000],
    [true, noticedMsMax],
  ])('of a node is noticed by the coordinator (with its machine: %s)', async (isHostDown, msMax) => {
    await connected();
    const { now } = rig.world;
    rig.network.nodeDied(name, isHostDown);
    await rig.playFor(60_000);
    const [at = Infinity] = rig.coordinator.disconnectedAt;
    expect(at - now).toBeLessThanOrEqual(msMax);
    expect(at - now > 2_000).toBe(isHostDown);
    expect(rig.peer.lost).toEqual([]);
  });
});

describe('an upload', () => {
  const token = { epoch: 1, counter: 1 };
  const body = Buffer.from(upTo(20_000).map((index) => (index * 7) % 251));

  async function uploadOf(uploads: UploadChannel, ms: number): Promise<string | undefined> {
    let outcome: string | undefined;
    uploads.upload(token, body, (error) => (outcome = error?.code ?? 'whole'));
    await rig.playFor(ms);
    return outcome;
  }

  it('arrives whole, and never has more under way than its credit', async () => {
    await connected();
    expect(await uploadOf(rig.peer.uploads(), 30_000)).toBe('whole');
    expect(rig.coordinator.uploads.get('1.1')?.equals(body)).toBe(true);
    expect(rig.coordinator.heldBytesMax).toBeLessThanOrEqual(limits.uploadCreditBytes);
    expect(rig.coordinator.heldBytesMax).toBeGreaterThan(limits.uploadChunkBytes);
  });

  it('fails when it is cut in the middle, and begins anew', async () => {
    await connected();
    rig.coordinator.placeMs = 500;
    const uploads = rig.peer.uploads();
    rig.coordinator.onPiece = () => {
      rig.coordinator.onPiece = () => undefined;
      rig.network.cut(name, 'bulk');
    };
    expect(await uploadOf(uploads, 5_000)).toBe('COORDINATOR_UNREACHABLE');
    const { length = 0 } = rig.coordinator.uploads.get('1.1') ?? {};
    expect(length).toBeGreaterThan(0);
    expect(length).toBeLessThan(body.length);
    expect(await uploadOf(uploads, 30_000)).toBe('whole');
    expect(rig.coordinator.uploads.get('1.1')?.equals(body)).toBe(true);
    expect(rig.codes()).toEqual([]);
  });

  it('is told that its lease is gone', async () => {
    await connected();
    rig.coordinator.uploadError = new BatchError('LEASE_STALE', 'no lease');
    expect(await uploadOf(rig.peer.uploads(), 5_000)).toBe('LEASE_STALE');
  });

  it('is refused for a session that is not known', async () => {
    await connected();
    rig.coordinator.kill();
    rig.coordinator.isUp = true;
    expect(await uploadOf(rig.peer.uploads(), 5_000)).toBe('SESSION_UNKNOWN');
    expect(rig.coordinator.uploads.size).toBe(0);
  });

  it('fails with the connection when the coordinator’s machine dies', async () => {
    await connected();
    rig.coordinator.placeMs = 500;
    rig.coordinator.onPiece = () => {
      rig.coordinator.kill();
      rig.network.coordinatorDied(true);
    };
    expect(await uploadOf(rig.peer.uploads(), 4_000 + noticedMsMax)).toBe('COORDINATOR_UNREACHABLE');
  });

  it('overtakes what is said on the control stream, and is overtaken', async () => {
    const isFirst = new Set<boolean>();
    for (const seed of upTo(12)) {
      await connected(seed);
      let uploadedAt = Infinity;
      rig.peer.uploads().upload(token, body.subarray(0, 10), () => (uploadedAt = rig.world.now));
      rig.world.after(10, () => rig.peer.say(1));
      await rig.playFor(10_000);
      isFirst.add(uploadedAt < (rig.coordinator.received[0]?.at ?? Infinity));
    }
    expect(isFirst).toEqual(new Set([true, false]));
  });
});

describe('the same seed', () => {
  async function story(seed: number): Promise<string> {
    await connected(seed);
    for (const want of upTo(50)) rig.world.after(want * 100, () => rig.peer.say(want));
    rig.world.after(1_000, () => rig.network.partition(name, 'to-coordinator', 2_000));
    rig.world.after(4_000, () => rig.network.halfOpen(name, 'coordinator'));
    let uploads = '';
    rig.peer
      .uploads()
      .upload({ epoch: 1, counter: 2 }, Buffer.alloc(9_000), (error) => (uploads = error?.code ?? 'whole'));
    await rig.playFor(60_000);
    const received = rig.coordinator.received.map(({ at, message }) => `${at} ${message.want}`);
    return JSON.stringify([
      received,
      rig.peer.lost,
      rig.coordinator.disconnectedAt,
      uploads,
      [...rig.network.counts],
      rig.world.trace,
    ]);
  }

  it('gives the same story, another one another', async () => {
    const [a, b, c] = [await story(5), await story(5), await story(6)];
    expect(b).toBe(a);
    expect(c).not.toBe(a);
  });
});
