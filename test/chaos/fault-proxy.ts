/** A TCP proxy on loopback between one worker node and the coordinator that treats its connections badly on request. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { delay } from '../../common/io/delay.ts';
import type { Direction, LinkFault } from './chaos-plan.ts';

type OneWay = Exclude<Direction, 'both'>;

interface Pair {
  /** Of the worker node. */
  readonly client: Socket;
  /** Of the coordinator. */
  readonly server: Socket;
  /** Bytes of it are lost: it must not be believed any more. */
  isBroken: boolean;
}

interface Trouble {
  readonly what: LinkFault;
  readonly direction: Direction;
  readonly over: Promise<void>;
}

const slowMs = 120;

export class FaultProxy {
  readonly #server: Server;
  readonly #target: () => number;
  readonly #watch: (() => (piece: Buffer) => void) | null;
  readonly #pairs = new Set<Pair>();
  #trouble: Trouble | null = null;
  #isClosed = false;

  private constructor(target: () => number, watch: (() => (piece: Buffer) => void) | null) {
    this.#target = target;
    this.#watch = watch;
    this.#server = createServer({ allowHalfOpen: true }, (client) => this.#accept(client));
  }

  /**
   * Listens on a free port when it resolves. `target`: the coordinator's port. `watch`: is given, for each connection, all that the
   * coordinator says on it, whatever becomes of it afterwards.
   */
  static async open(target: () => number, watch: (() => (piece: Buffer) => void) | null = null): Promise<FaultProxy> {
    const proxy = new FaultProxy(target, watch);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  /** `127.0.0.1:port` */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Connections that it carries now. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** Resolves when all is well again; false when there was other trouble already, or nothing to trouble. */
  async trouble(what: LinkFault, direction: Direction, ms: number): Promise<boolean> {
    if (this.#trouble !== null || this.#isClosed || this.#pairs.size === 0) return false;
    const over = delay(ms, new AbortController().signal);
    this.#trouble = { what, direction, over };
    const hit = [...this.#pairs];
    if (what === 'cut') for (const { client, server } of hit) for (const socket of [client, server]) socket.end();
    if (what === 'reset') for (const pair of hit) reset(pair);
    if (what === 'half-open') for (const pair of hit) this.#halfOpen(pair, direction);
    await over;
    this.#trouble = null;
    for (const pair of [...this.#pairs]) if (pair.isBroken) reset(pair);
    return true;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const pair of [...this.#pairs]) reset(pair);
    this.#server.close();
    await once(this.#server, 'close');
  }

  /** The side that the bytes of `direction` come from goes on as if nothing had happened. */
  #halfOpen(pair: Pair, direction: Direction): void {
    pair.isBroken = true;
    (direction === 'up' ? pair.server : pair.client).destroy();
  }

  #accept(client: Socket): void {
    client.on('error', () => undefined);
    if (this.#trouble?.what === 'refuse' || this.#isClosed) {
      client.resetAndDestroy();
      return;
    }
    const server = connect({ port: this.#target(), host: '127.0.0.1', allowHalfOpen: true });
    const pair: Pair = { client, server, isBroken: false };
    this.#pairs.add(pair);
    server.on('error', () => client.resetAndDestroy());
    for (const socket of [client, server]) socket.setNoDelay(true).on('close', () => this.#ended(pair));
    const watch = this.#watch?.() ?? (() => undefined);
    void this.#carry(pair, client, server, 'up', () => undefined);
    void this.#carry(pair, server, client, 'down', watch);
  }

  #ended(pair: Pair): void {
    const { client, server, isBroken } = pair;
    // The survivor of a half-open pair is kept in the dark until the trouble is over.
    if (isBroken && this.#trouble !== null && !(client.destroyed && server.destroyed)) return;
    client.destroy();
    server.destroy();
    this.#pairs.delete(pair);
  }

  async #carry(pair: Pair, from: Socket, to: Socket, way: OneWay, watch: (piece: Buffer) => void): Promise<void> {
    try {
      for await (const piece of from) {
        watch(piece as Buffer);
        if (!(await this.#lets(pair, way))) continue;
        if (!to.write(piece as Buffer)) await once(to, 'drain');
      }
      if (!pair.isBroken) to.end();
    } catch {
      // An end of its own: `close` has cleaned up.
    }
  }

  /** Waits as long as the trouble says; false: the bytes vanish. */
  async #lets(pair: Pair, way: OneWay): Promise<boolean> {
    const trouble = this.#trouble;
    if (trouble !== null && [way, 'both'].includes(trouble.direction)) {
      if (trouble.what === 'hold') await trouble.over;
      if (trouble.what === 'slow') await delay(slowMs, new AbortController().signal);
      if (trouble.what === 'swallow') pair.isBroken = true;
    }
    return !pair.isBroken;
  }
}

function reset({ client, server }: Pair): void {
  client.resetAndDestroy();
  server.resetAndDestroy();
}
