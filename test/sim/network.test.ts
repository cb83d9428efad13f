import './small-limits.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import type { JoinReply } from '../../common/core/cluster-messages.ts';
import { limits } from '../../common/core/limits.ts';
import { name, NetworkRig, noticedMsMax, Peer, upTo } from './network-rig.ts';

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

describe('a stream', () => {
  it('keeps the order of its messages both ways, however long each takes', async () => {
    await connected();
    for (const want of upTo(300)) rig.world.after(want * 3, () => rig.peer.say(want));
    for (const counter of upTo(300))
      rig.world.after(counter * 3, () => rig.coordinator.links[0]?.send({ revoked: [{ epoch: 1, counter }] }));
    await rig.playFor(20_000);
    expect(rig.said()).toEqual(upTo(300));
    expect(rig.peer.heard.flatMap(({ revoked }) => revoked.map(({ counter }) => counter))).toEqual(upTo(300));
    // What a link that is asked for a pause has to say goes in few messages.
    expect(rig.peer.heard.length).toBeLessThan(300);
    const late = rig.coordinator.received.filter(({ at, message }) => at - 8_000 - message.want * 3 > 40);
    expect(late.length).toBeGreaterThan(0);
  });

  it('is refused for a session that the coordinator does not know', async () => {
    build(1);
    await rig.playFor(4_000);
    rig.coordinator.kill();
    rig.coordinator.isUp = true;
    rig.peer.channel.close();
    const { session } = rig.peer.reply as JoinReply;
    const { channel } = new Peer(rig.world, rig.network);
    channel.open(session);
    rig.peer.lost.length = 0;
    const again = rig.peer.join();
    again.open(session);
    await rig.playFor(4_000);
    expect(rig.codes()).toEqual(['SESSION_UNKNOWN']);
    expect(rig.coordinator.received).toEqual([]);
  });

  it('is not given to whom the coordinator refuses', async () => {
    build(1);
    rig.coordinator.joinError = new BatchError('NAME_TAKEN', 'somebody else has it');
    await rig.playFor(4_000);
    expect([rig.codes(), rig.peer.reply]).toEqual([['NAME_TAKEN'], null]);
  });

  it('asks its sender for a pause while too much waits, and says when it is over', async () => {
    await connected();
    rig.network.partition(name, 'to-coordinator', 5_000);
    for (const want of upTo(20)) rig.peer.say(want);
    expect(rig.peer.channel.isWritable).toBe(false);
    await rig.playFor(9_000);
    expect([rig.peer.channel.isWritable, rig.said()]).toEqual([true, upTo(20)]);
  });

  it('is read by a frozen node when it thaws', async () => {
    await connected();
    rig.peer.node.awakeAt = rig.world.now + 8_000;
    rig.coordinator.links[0]?.send({ heartbeatAck: 7 });
    await rig.playFor(7_000);
    expect(rig.peer.heard).toEqual([]);
    await rig.playFor(2_000);
    expect(rig.peer.heard.map(({ heartbeatAck }) => heartbeatAck)).toEqual([7]);
  });

  it('is read by a coordinator at a standstill when that is over', async () => {
    await connected();
    rig.coordinator.stall(8_000);
    for (const want of upTo(5)) rig.peer.say(want);
    await rig.playFor(7_900);
    expect(rig.said()).toEqual([]);
    await rig.playFor(5_000);
    expect([rig.said(), rig.codes()]).toEqual([upTo(5), []]);
  });

  it('is given up by a node whose coordinator stands still for longer than its keepalive', async () => {
    await connected();
    const { now } = rig.world;
    rig.coordinator.stall(60_000);
    await rig.playFor(noticedMsMax);
    expect(rig.codes()).toEqual(['COORDINATOR_UNREACHABLE']);
    expect((rig.peer.lost[0]?.at ?? 0) - now).toBeGreaterThan(limits.keepaliveTimeoutMs);
    expect(rig.coordinator.disconnectedAt).toEqual([]);
    await rig.playFor(60_000);
    expect(rig.coordinator.disconnectedAt).toHaveLength(1);
  });
});

describe('a way that loses what is sent', () => {
  it.each(['to-coordinator', 'both'] as const)('%s delivers it later when it heals in time', async (direction) => {
    await connected();
    rig.network.partition(name, direction, 6_000);
    for (const want of upTo(10)) rig.world.after(want * 100, () => rig.peer.say(want));
    await rig.playFor(5_900);
    expect(rig.said()).toEqual([]);
    await rig.playFor(6_000);
    expect([rig.said(), rig.codes(), rig.coordinator.disconnectedAt]).toEqual([upTo(10), [], []]);
    expect(rig.network.counts.get('held up by a partition')).toBeGreaterThan(0);
  });

  it('lets the other direction through', async () => {
    await connected();
    rig.network.partition(name, 'to-node', 6_000);
    rig.peer.say(5);
    rig.coordinator.links[0]?.send({ heartbeatAck: 9 });
    await rig.playFor(4_000);
    expect([rig.said(), rig.peer.heard]).toEqual([[5], []]);
    await rig.playFor(5_000);
    expect(rig.peer.heard.map(({ heartbeatAck }) => heartbeatAck)).toEqual([9]);
  });

  it.each(['to-coordinator', 'to-node', 'both'] as const)(
    '%s costs both ends the connection when it outlives their keepalives',
    async (direction) => {
      for (const seed of upTo(20)) {
        await connected(seed);
        const { now } = rig.world;
        rig.network.partition(name, direction, 120_000);
        await rig.playFor(110_000);
        expect(rig.codes()).toEqual(['COORDINATOR_UNREACHABLE']);
        expect(rig.coordinator.disconnectedAt).toHaveLength(1);
        const notices = [rig.peer.lost[0]?.at ?? 0, rig.coordinator.disconnectedAt[0] ?? 0].map((at) => at - now);
        expect(Math.max(...notices)).toBeLessThan(noticedMsMax);
        // The end that is heard tells the other that it has given up.
        expect(Math.min(...notices)).toBeGreaterThan(limits.keepaliveTimeoutMs);
      }
    },
  );

  it('lets nobody join', async () => {
    build(1);
    rig.network.partition(name, 'both', 60_000);
    await rig.playFor(59_000);
    expect([rig.codes(), rig.peer.lost[0]?.at]).toEqual([['COORDINATOR_UNREACHABLE'], limits.joinCallMsMax]);
    await rig.playFor(10_000);
    expect(rig.coordinator.joins).toEqual([]);
  });
});

describe('new connections', () => {
  it('fail while they are refused', async () => {
    await connected();
    rig.network.refuse(name, 5_000);
    rig.peer.join();
    await rig.playFor(4_000);
    expect(rig.codes()).toEqual(['COORDINATOR_UNREACHABLE']);
    await rig.playFor(2_000);
    rig.peer.join();
    await rig.playFor(4_000);
    expect(rig.codes()).toHaveLength(1);
    expect(rig.coordinator.joins).toHaveLength(2);
  });
});

describe('a slow way', () => {
  it('brings a Join that was given up, behind the one that came after it', async () => {
    await connected();
    rig.peer.channel.close();
    rig.network.slow(name, 100, limits.joinCallMsMax + 4_000);
    rig.peer.join();
    await rig.playFor(limits.joinCallMsMax + 1);
    expect([rig.codes(), rig.coordinator.joins.length]).toEqual([['COORDINATOR_UNREACHABLE'], 1]);
    rig.peer.join();
    await rig.playFor(3_100);
    expect([rig.peer.reply?.session, rig.coordinator.joins.length]).toEqual(['session-2', 2]);
    await rig.playFor(8_000);
    expect([rig.peer.reply?.session, rig.coordinator.joins.length]).toEqual(['session-2', 3]);
  });

  it('makes every message late, and none more than one', async () => {
    await connected();
    const { now } = rig.world;
    rig.network.slow(name, 1_000, 3_500);
    for (const want of upTo(20)) rig.peer.say(want);
    await rig.playFor(10_000);
    expect(rig.said()).toEqual(upTo(20));
    expect(Math.min(...rig.coordinator.received.map(({ at }) => at - now))).toBeGreaterThanOrEqual(3_500);
  });
});
