/** A network with a scripted coordinator at one end and, at the other, the ends of a node's connections. */
import type { Failure } from '../../common/core/batch-error.ts';
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

export const name = nodeName('node-0');
const request: JoinRequest = {
  protocol: 1,
  release: 'sim',
  joinToken: 't',
  name,
  incarnation: incarnation('node-0/1'),
  slots: 1,
  hostname: 'host',
  pid: 1,
  labels: {},
  answersDiagnose: true,
};
/** A ping every ten seconds, ten seconds for its answer, and the way of a reset, each late by a lost packet at most. */
export const noticedMsMax = limits.keepaliveMs + limits.keepaliveTimeoutMs + 3_100;

/** A node of which only the ends of its connections are there. */
export class Peer {
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

export class NetworkRig {
  readonly world: World;
  readonly coordinator: ScriptedCoordinator;
  readonly network: SimNetwork;
  readonly peer: Peer;

  constructor(seed: number) {
    this.world = new World(seed);
    this.coordinator = new ScriptedCoordinator(this.world);
    this.network = new SimNetwork(this);
    this.peer = new Peer(this.world, this.network);
  }

  playFor(ms: number): Promise<boolean> {
    const until = this.world.now + ms;
    // Also when nothing is due then.
    this.world.at(until, () => undefined);
    return this.world.play(until, () => false);
  }

  /** What the coordinator was told, in order. */
  said(): readonly number[] {
    return this.coordinator.received.map(({ message }) => message.want);
  }

  /** Why connections were lost, as the node was told. */
  codes(): readonly string[] {
    return this.peer.lost.map(({ failure }) => failure.code);
  }
}

export function upTo(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index);
}
