import './small-limits.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BatchError, type Failure } from '../../common/core/batch-error.ts';
import {
  emptyNodeMessage,
  type CoordinatorMessage,
  type JoinReply,
  type JoinRequest,
} from '../../common/core/cluster-messages.ts';
import { incarnation, nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { ControlChannel } from './control-channel.ts';
import { SimNetwork } from './network.ts';
import { ScriptedCoordinator } from './scripted-coordinator.ts';
import { UploadChannel } from './upload-channel.ts';
import { World } from './world.ts';

const name = nodeName('node-0');
const request: JoinRequest = {
  protocol: 1,
  release: 'sim',
  joinToken: 't',
  name,
  incarnation: incarnation('node-0/1'),
  slots: 1,
  hostname: 'host',
  pid: 1,
};
/** A ping every ten seconds, ten seconds for its answer, and the way of a reset, each late by a lost packet at most. */
const noticedMsMax = limits.keepaliveMs + limits.keepaliveTimeoutMs + 3_100;

/** A node of which only the ends of its connections are there. */
class Peer {
  readonly node = { name, awakeAt: 0 };
  readonly heard: CoordinatorMessage[] = [];
  readonly lost: { readonly at: number; readonly failure: Failure }[] = [];
  reply: JoinReply | null = null;
  channel: ControlChannel;
  readonly #world: World;
  readonly #network: SimNetwork;

  constructor(world: World, network: SimNetwork) {
    this.#world = world;
    this.#network = network;
    this.channel = this.join();
  }

  join(): ControlChannel {
    this.channel = new ControlChannel({
      network: this.#network,
      node: this.node,
      request,
      later: (ms, what) => this.#world.after(ms, what),
      onJoined: (reply) => {
        this.reply = reply;
        this.channel.open(reply.session);
      },
      onLost: (failure) => this.lost.push({ at: this.#world.now, failure }),
      onMessage: (message) => this.heard.push(message),
      onWritable: () => undefined,
    });
    this.channel.join();
    return this.channel;
  }

  /** The number goes as what it wants. */
  say(want: number): void {
    this.channel.send({ message: { ...emptyNodeMessage, want }, inline: [] });
  }

  uploads(): UploadChannel {
    const { session, uploadCreditBytes: creditBytes } = this.reply as JoinReply;
    return new UploadChannel({ network: this.#network, node: this.node, session, creditBytes });
  }
}

let world: World;
let coordinator: ScriptedCoordinator;
let network: SimNetwork;
let peer: Peer;

function build(seed: number): void {
  world = new World(seed);
  coordinator = new ScriptedCoordinator(world);
  network = new SimNetwork({ world, coordinator });
  peer = new Peer(world, network);
}

function playFor(ms: number): Promise<boolean> {
  const until = world.now + ms;
  // Also when nothing is due then.
  world.at(until, () => undefined);
  return world.play(until, () => false);
}
const said = (): number[] => coordinator.received.map(({ message }) => message.want);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const codes = (): string[] => peer.lost.map(({ failure }) => failure.code);

/** A stream on which both sides have spoken. */
async function connected(seed = 1): Promise<void> {
  build(seed);
  await playFor(4_000);
  peer.say(1_000_000);
  await playFor(4_000);
  coordinator.received.length = 0;
}

beforeEach(() => vi.stubGlobal('setImmediate', (what: () => void) => world.immediate(what)));
afterEach(() => vi.unstubAllGlobals());

describe('a stream', () => {
  it('keeps the order of its messages both ways, however long each takes', async () => {
    await connected();
    for (const want of upTo(300)) world.after(want * 3, () => peer.say(want));
    for (const counter of upTo(300))
      world.after(counter * 3, () => coordinator.links[0]?.send({ revoked: [{ epoch: 1, counter }] }));
    await playFor(20_000);
    expect(said()).toEqual(upTo(300));
    expect(peer.heard.flatMap(({ revoked }) => revoked.map(({ counter }) => counter))).toEqual(upTo(300));
    // What a link that is asked for a pause has to say goes in few messages.
    expect(peer.heard.length).toBeLessThan(300);
    const late = coordinator.received.filter(({ at, message }) => at - 8_000 - message.want * 3 > 40);
    expect(late.length).toBeGreaterThan(0);
  });

  it('is refused for a session that the coordinator does not know', async () => {
    build(1);
    await playFor(4_000);
    coordinator.kill();
    coordinator.isUp = true;
    peer.channel.close();
    const { session } = peer.reply as JoinReply;
    const { channel } = new Peer(world, network);
    channel.open(session);
    peer.lost.length = 0;
    const again = peer.join();
    again.open(session);
    await playFor(4_000);
    expect(codes()).toEqual(['SESSION_UNKNOWN']);
    expect(coordinator.received).toEqual([]);
  });

  it('is not given to whom the coordinator refuses', async () => {
    build(1);
    coordinator.joinError = new BatchError('NAME_TAKEN', 'somebody else has it');
    await playFor(4_000);
    expect([codes(), peer.reply]).toEqual([['NAME_TAKEN'], null]);
  });

  it('asks its sender for a pause while too much waits, and says when it is over', async () => {
    await connected();
    network.partition(name, 'to-coordinator', 5_000);
    for (const want of upTo(20)) peer.say(want);
    expect(peer.channel.isWritable).toBe(false);
    await playFor(9_000);
    expect([peer.channel.isWritable, said()]).toEqual([true, upTo(20)]);
  });

  it('is read by a frozen node when it thaws', async () => {
    await connected();
    peer.node.awakeAt = world.now + 8_000;
    coordinator.links[0]?.send({ heartbeatAck: 7 });
    await playFor(7_000);
    expect(peer.heard).toEqual([]);
    await playFor(2_000);
    expect(peer.heard.map(({ heartbeatAck }) => heartbeatAck)).toEqual([7]);
  });

  it('is read by a coordinator at a standstill when that is over', async () => {
    await connected();
    coordinator.stall(8_000);
    for (const want of upTo(5)) peer.say(want);
    await playFor(7_900);
    expect(said()).toEqual([]);
    await playFor(5_000);
    expect([said(), codes()]).toEqual([upTo(5), []]);
  });

  it('is given up by a node whose coordinator stands still for longer than its keepalive', async () => {
    await connected();
    const { now } = world;
    coordinator.stall(60_000);
    await playFor(noticedMsMax);
    expect(codes()).toEqual(['COORDINATOR_UNREACHABLE']);
    expect((peer.lost[0]?.at ?? 0) - now).toBeGreaterThan(limits.keepaliveTimeoutMs);
    expect(coordinator.disconnectedAt).toEqual([]);
    await playFor(60_000);
    expect(coordinator.disconnectedAt).toHaveLength(1);
  });
});

describe('a way that loses what is sent', () => {
  it.each(['to-coordinator', 'both'] as const)('%s delivers it later when it heals in time', async (direction) => {
    await connected();
    network.partition(name, direction, 6_000);
    for (const want of upTo(10)) world.after(want * 100, () => peer.say(want));
    await playFor(5_900);
    expect(said()).toEqual([]);
    await playFor(6_000);
    expect([said(), codes(), coordinator.disconnectedAt]).toEqual([upTo(10), [], []]);
    expect(network.counts.get('held up by a partition')).toBeGreaterThan(0);
  });

  it('lets the other direction through', async () => {
    await connected();
    network.partition(name, 'to-node', 6_000);
    peer.say(5);
    coordinator.links[0]?.send({ heartbeatAck: 9 });
    await playFor(4_000);
    expect([said(), peer.heard]).toEqual([[5], []]);
    await playFor(5_000);
    expect(peer.heard.map(({ heartbeatAck }) => heartbeatAck)).toEqual([9]);
  });

  it.each(['to-coordinator', 'to-node', 'both'] as const)(
    '%s costs both ends the connection when it outlives their keepalives',
    async (direction) => {
      for (const seed of upTo(20)) {
        await connected(seed);
        const { now } = world;
        network.partition(name, direction, 120_000);
        await playFor(110_000);
        expect(codes()).toEqual(['COORDINATOR_UNREACHABLE']);
        expect(coordinator.disconnectedAt).toHaveLength(1);
        const notices = [peer.lost[0]?.at ?? 0, coordinator.disconnectedAt[0] ?? 0].map((at) => at - now);
        expect(Math.max(...notices)).toBeLessThan(noticedMsMax);
        // The end that is heard tells the other that it has given up.
        expect(Math.min(...notices)).toBeGreaterThan(limits.keepaliveTimeoutMs);
      }
    },
  );

  it('lets nobody join', async () => {
    build(1);
    network.partition(name, 'both', 60_000);
    await playFor(59_000);
    expect([codes(), peer.lost[0]?.at]).toEqual([['COORDINATOR_UNREACHABLE'], limits.joinCallMsMax]);
    await playFor(10_000);
    expect(coordinator.joins).toEqual([]);
  });
});

describe('a connection that ends', () => {
  it('is noticed by both ends when it is cut', async () => {
    for (const seed of upTo(20)) {
      await connected(seed);
      const { now } = world;
      network.cut(name);
      peer.say(1);
      await playFor(10_000);
      expect([codes(), said()]).toEqual([['COORDINATOR_UNREACHABLE'], []]);
      const notices = [peer.lost[0]?.at ?? Infinity, coordinator.disconnectedAt[0] ?? Infinity].map((at) => at - now);
      expect(Math.max(...notices)).toBeLessThanOrEqual(2_000);
    }
  });

  it.each(['node', 'coordinator'] as const)('at the %s alone is noticed late by the other end', async (side) => {
    const lateMs: number[] = [];
    for (const seed of upTo(40)) {
      await connected(seed);
      const { now } = world;
      network.halfOpen(name, side);
      await playFor(60_000);
      const at = { node: peer.lost[0]?.at ?? Infinity, coordinator: coordinator.disconnectedAt[0] ?? Infinity };
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
      network.halfOpen(name, 'coordinator');
      const { now } = world;
      peer.say(1);
      await playFor(200);
      if (peer.lost[0]) told.push(peer.lost[0].at - now);
      expect(said()).toEqual([]);
    }
    expect(told.length).toBeGreaterThan(3);
    expect(told.length).toBeLessThan(17);
  });

  it('is told to the coordinator behind all that was said, when the node leaves in good order', async () => {
    for (const seed of upTo(20)) {
      await connected(seed);
      // Its first ping is over; one that found the node gone would end the connection sooner.
      await playFor(4_000);
      let isDone = false;
      for (const want of upTo(5)) peer.say(want);
      peer.channel.end(() => (isDone = true));
      await playFor(5_000);
      expect([said(), isDone, coordinator.disconnectedAt.length, codes()]).toEqual([upTo(5), true, 1, []]);
    }
  });

  it('is told to the node behind all that was said, when the coordinator closes it', async () => {
    await connected();
    const [link] = coordinator.links;
    link?.send({ heartbeatAck: 3 });
    await playFor(0);
    link?.close();
    await playFor(4_000);
    expect(peer.heard.map(({ heartbeatAck }) => heartbeatAck)).toEqual([3]);
    expect([codes(), coordinator.disconnectedAt.length]).toEqual([['COORDINATOR_UNREACHABLE'], 1]);
  });
});

describe('a process that dies', () => {
  it('of the coordinator takes what was on its way with it, and its nodes learn of it soon', async () => {
    for (const seed of upTo(20)) {
      await connected(seed);
      peer.say(1);
      coordinator.kill();
      network.coordinatorDied(false);
      coordinator.isUp = true;
      await playFor(2_100);
      expect([codes(), said(), coordinator.disconnectedAt]).toEqual([['COORDINATOR_UNREACHABLE'], [], []]);
    }
  });

  it('of the coordinator is found out by the keepalive when its machine dies with it', async () => {
    await connected();
    const { now } = world;
    coordinator.kill();
    network.coordinatorDied(true);
    peer.say(1);
    await playFor(10_000);
    expect(codes()).toEqual([]);
    await playFor(noticedMsMax);
    expect(codes()).toEqual(['COORDINATOR_UNREACHABLE']);
    expect((peer.lost[0]?.at ?? 0) - now).toBeGreaterThan(limits.keepaliveTimeoutMs);
    peer.join();
    await playFor(limits.joinCallMsMax + 1);
    expect(codes()).toEqual(['COORDINATOR_UNREACHABLE', 'COORDINATOR_UNREACHABLE']);
  });

  it('of the coordinator is told at once to whoever writes after its machine is back', async () => {
    await connected();
    coordinator.kill();
    network.coordinatorDied(true);
    await playFor(1_000);
    coordinator.isUp = true;
    peer.say(1);
    await playFor(3_100);
    expect([codes(), said()]).toEqual([['COORDINATOR_UNREACHABLE'], []]);
  });

  it('of the coordinator lets nobody in before the next', async () => {
    build(1);
    coordinator.kill();
    network.coordinatorDied(false);
    await playFor(3_100);
    expect([codes(), network.counts.get('refused')]).toEqual([['COORDINATOR_UNREACHABLE'], 1]);
  });

  it.each([
    [false, 2_000],
    [true, noticedMsMax],
  ])('of a node is noticed by the coordinator (with its machine: %s)', async (isHostDown, msMax) => {
    await connected();
    const { now } = world;
    network.nodeDied(name, isHostDown);
    await playFor(60_000);
    const [at = Infinity] = coordinator.disconnectedAt;
    expect(at - now).toBeLessThanOrEqual(msMax);
    expect(at - now > 2_000).toBe(isHostDown);
    expect(peer.lost).toEqual([]);
  });
});

describe('new connections', () => {
  it('fail while they are refused', async () => {
    await connected();
    network.refuse(name, 5_000);
    peer.join();
    await playFor(4_000);
    expect(codes()).toEqual(['COORDINATOR_UNREACHABLE']);
    await playFor(2_000);
    peer.join();
    await playFor(4_000);
    expect(codes()).toHaveLength(1);
    expect(coordinator.joins).toHaveLength(2);
  });
});

describe('a slow way', () => {
  it('brings a Join that was given up, behind the one that came after it', async () => {
    await connected();
    peer.channel.close();
    network.slow(name, 100, limits.joinCallMsMax + 4_000);
    peer.join();
    await playFor(limits.joinCallMsMax + 1);
    expect([codes(), coordinator.joins.length]).toEqual([['COORDINATOR_UNREACHABLE'], 1]);
    peer.join();
    await playFor(3_100);
    expect([peer.reply?.session, coordinator.joins.length]).toEqual(['session-2', 2]);
    await playFor(8_000);
    expect([peer.reply?.session, coordinator.joins.length]).toEqual(['session-2', 3]);
  });

  it('makes every message late, and none more than one', async () => {
    await connected();
    const { now } = world;
    network.slow(name, 1_000, 3_500);
    for (const want of upTo(20)) peer.say(want);
    await playFor(10_000);
    expect(said()).toEqual(upTo(20));
    expect(Math.min(...coordinator.received.map(({ at }) => at - now))).toBeGreaterThanOrEqual(3_500);
  });
});

describe('an upload', () => {
  const token = { epoch: 1, counter: 1 };
  const body = Buffer.from(upTo(20_000).map((index) => (index * 7) % 251));

  async function uploadOf(uploads: UploadChannel, ms: number): Promise<string | undefined> {
    let outcome: string | undefined;
    uploads.upload(token, body, (error) => (outcome = error?.code ?? 'whole'));
    await playFor(ms);
    return outcome;
  }

  it('arrives whole, and never has more under way than its credit', async () => {
    await connected();
    expect(await uploadOf(peer.uploads(), 30_000)).toBe('whole');
    expect(coordinator.uploads.get('1.1')?.equals(body)).toBe(true);
    expect(coordinator.heldBytesMax).toBeLessThanOrEqual(limits.uploadCreditBytes);
    expect(coordinator.heldBytesMax).toBeGreaterThan(limits.uploadChunkBytes);
  });

  it('fails when it is cut in the middle, and begins anew', async () => {
    await connected();
    coordinator.placeMs = 500;
    const uploads = peer.uploads();
    coordinator.onPiece = () => {
      coordinator.onPiece = () => undefined;
      network.cut(name, 'bulk');
    };
    expect(await uploadOf(uploads, 5_000)).toBe('COORDINATOR_UNREACHABLE');
    const { length = 0 } = coordinator.uploads.get('1.1') ?? {};
    expect(length).toBeGreaterThan(0);
    expect(length).toBeLessThan(body.length);
    expect(await uploadOf(uploads, 30_000)).toBe('whole');
    expect(coordinator.uploads.get('1.1')?.equals(body)).toBe(true);
    expect(codes()).toEqual([]);
  });

  it('is told that its lease is gone', async () => {
    await connected();
    coordinator.uploadError = new BatchError('LEASE_STALE', 'no lease');
    expect(await uploadOf(peer.uploads(), 5_000)).toBe('LEASE_STALE');
  });

  it('is refused for a session that is not known', async () => {
    await connected();
    coordinator.kill();
    coordinator.isUp = true;
    expect(await uploadOf(peer.uploads(), 5_000)).toBe('SESSION_UNKNOWN');
    expect(coordinator.uploads.size).toBe(0);
  });

  it('fails with the connection when the coordinator’s machine dies', async () => {
    await connected();
    coordinator.placeMs = 500;
    coordinator.onPiece = () => {
      coordinator.kill();
      network.coordinatorDied(true);
    };
    expect(await uploadOf(peer.uploads(), 4_000 + noticedMsMax)).toBe('COORDINATOR_UNREACHABLE');
  });

  it('overtakes what is said on the control stream, and is overtaken', async () => {
    const isFirst = new Set<boolean>();
    for (const seed of upTo(12)) {
      await connected(seed);
      let uploadedAt = Infinity;
      peer.uploads().upload(token, body.subarray(0, 10), () => (uploadedAt = world.now));
      world.after(10, () => peer.say(1));
      await playFor(10_000);
      isFirst.add(uploadedAt < (coordinator.received[0]?.at ?? Infinity));
    }
    expect(isFirst).toEqual(new Set([true, false]));
  });
});

describe('the same seed', () => {
  async function story(seed: number): Promise<string> {
    await connected(seed);
    for (const want of upTo(50)) world.after(want * 100, () => peer.say(want));
    world.after(1_000, () => network.partition(name, 'to-coordinator', 2_000));
    world.after(4_000, () => network.halfOpen(name, 'coordinator'));
    let uploads = '';
    peer.uploads().upload({ epoch: 1, counter: 2 }, Buffer.alloc(9_000), (error) => (uploads = error?.code ?? 'whole'));
    await playFor(60_000);
    const received = coordinator.received.map(({ at, message }) => `${at} ${message.want}`);
    return JSON.stringify([received, peer.lost, coordinator.disconnectedAt, uploads, [...network.counts], world.trace]);
  }

  it('gives the same story, another one another', async () => {
    const [a, b, c] = [await story(5), await story(5), await story(6)];
    expect(b).toBe(a);
    expect(c).not.toBe(a);
  });
});
