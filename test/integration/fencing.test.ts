/** A worker node that was given up and comes back with a result: refused by its fencing token, over the real wire. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { ClientDuplexStream } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import {
  emptyNodeMessage,
  type CoordinatorMessage,
  type Grant,
  type NodeMessage,
} from '../../common/core/cluster-messages.ts';
import { incarnation, nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { formatToken } from '../../common/core/token.ts';
import { systemClock } from '../../common/io/clock.ts';
import { silentLog } from '../../common/io/log.ts';
import { systemRandom } from '../../common/io/random.ts';
import { connectCluster, sessionMetadata } from '../../common/rpc/cluster-client.ts';
import type { ClusterClient } from '../../common/rpc/generated/batchmill/v1/Cluster.ts';
import type { CoordinatorMessage__Output } from '../../common/rpc/generated/batchmill/v1/CoordinatorMessage.ts';
import type { NodeMessage as NodeMessageWire } from '../../common/rpc/generated/batchmill/v1/NodeMessage.ts';
import { readCoordinatorMessage } from '../../common/rpc/translate-coordinator-message.ts';
import { readJoinReply, writeJoinRequest, writeNodeMessage } from '../../common/rpc/translate-node-message.ts';
import { openCoordinator, type Coordinator } from '../../coordinator/coordinator.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { until } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

let dir = '';
let coordinator: Coordinator;
const nodes: HandNode[] = [];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-fencing-'));
  coordinator = await openCoordinator({
    stateDir: join(dir, 'state'),
    listen: '127.0.0.1:0',
    http: null,
    heartbeatMs: 200,
    keepFinishedMs: null,
    log: silentLog,
    clock: systemClock,
    random: systemRandom,
  });
});
afterEach(async () => {
  for (const node of nodes.splice(0)) node.close();
  await coordinator.close();
  rmSync(dir, { recursive: true, force: true });
});

/** A worker node that does only what the test tells it to. */
class HandNode {
  readonly heard: CoordinatorMessage[] = [];
  readonly #client: ClusterClient;
  readonly #stream: ClientDuplexStream<NodeMessageWire, CoordinatorMessage__Output>;
  #heartbeats = 0;

  private constructor(client: ClusterClient, session: string) {
    this.#client = client;
    this.#stream = client.Work(sessionMetadata(session));
    this.#stream.on('data', (wire: CoordinatorMessage__Output) => this.heard.push(readCoordinatorMessage(wire)));
    this.#stream.on('error', () => undefined);
    this.say({ hello: [] });
  }

  static async join(name: string): Promise<HandNode> {
    const client = connectCluster(coordinator.listen);
    const request = writeJoinRequest({
      protocol: limits.protocolVersion,
      release: 'test',
      joinToken: coordinator.joinToken,
      name: nodeName(name),
      incarnation: incarnation(name),
      slots: 1,
      hostname: 'test',
      pid: 1,
      labels: {},
      answersDiagnose: true,
    });
    const reply = await new Promise<string>((resolve, reject) => {
      client.Join(request, (error, joined) =>
        joined ? resolve(readJoinReply(joined).session) : reject(error ?? new Error()),
      );
    });
    const node = new HandNode(client, reply);
    nodes.push(node);
    return node;
  }

  say(part: Partial<NodeMessage>, bytes: Uint8Array = new Uint8Array(0)): void {
    this.#stream.write(writeNodeMessage({ ...emptyNodeMessage, ...part }, () => bytes));
  }

  beat(held: readonly Grant[]): void {
    this.#heartbeats += 1;
    const heartbeat = { sequence: this.#heartbeats, held: held.map(({ token }) => token), slotsBusy: 1, rssBytes: 0 };
    this.say({ heartbeat });
  }

  grants(): readonly Grant[] {
    return this.heard.flatMap((message) => message.grants);
  }

  tokens(what: 'committed' | 'revoked'): readonly string[] {
    return this.heard.flatMap((message) => message[what]).map(formatToken);
  }

  /** Sends one line as the result of all files of a grant. */
  report(grant: Grant, line: string): void {
    const bytes = Buffer.from(`${line}\n`);
    const summary = {
      rows: grant.files.length,
      attribution: 'range',
      fileRows: null,
      failed: [],
      schema: null,
      runSeconds: 0,
      peakMemoryBytes: null,
    } as const;
    const result = {
      token: grant.token,
      summary,
      bytes: bytes.length,
      crc32: crc32(bytes),
      customBytes: 0,
      customCrc32: 0,
      isUploaded: false,
    };
    this.say({ results: [result] }, bytes);
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }
}

test('a late result is refused with LEASE_STALE, whether the mini-batch is done elsewhere or not yet', async () => {
  const input = writeInputs(join(dir, 'in'), smallFiles(2));
  const script = writeDeployment(dir, 'fenced', { script: 'hash-rows.mjs', miniBatchSize: 2 });
  const deployment = await loadDeployment(script);
  const outputDir = join(dir, 'out');
  const { name } = await coordinator.jobs.submit({
    deployment,
    inputPath: input,
    outputDir,
    isOverwrite: false,
    name: null,
  });

  const slow = await HandNode.join('slow');
  slow.say({ want: 1 });
  await until(() => slow.grants().length === 1, 'a grant for the slow node');
  const [late] = slow.grants() as [Grant];

  // Not a word from it for longer than a lease; its connection stays.
  const quick = await HandNode.join('quick');
  quick.say({ want: 1 });
  const alive = setInterval(() => quick.beat(quick.grants()), 100);
  try {
    await until(() => quick.grants().length === 1, 'the same mini-batch for the quick node', 10_000);
    const [grant] = quick.grants() as [Grant];
    expect(grant.first).toBe(late.first);
    expect(formatToken(grant.token)).not.toBe(formatToken(late.token));
    expect(coordinator.jobs.nodes().find((node) => node.name === 'slow')?.state).toBe('lost');

    slow.report(late, 'late');
    const refusals = (): readonly string[] =>
      slow.heard
        .flatMap((message) => message.refused)
        .map((refusal) => `${formatToken(refusal.token)} ${refusal.failure.code}`);
    await until(() => refusals().length === 1, 'a refusal before the commit');
    expect(coordinator.jobs.show(name)).toMatchObject({ rows: 0, status: 'Running' });

    quick.report(grant, 'quick');
    await until(() => quick.tokens('committed').length === 1, 'the commit');
    slow.report(late, 'late');
    await until(() => refusals().length === 2, 'a refusal after the commit');
    expect(refusals()).toEqual(Array.from({ length: 2 }, () => `${formatToken(late.token)} LEASE_STALE`));

    // A heartbeat that still claims the lease is answered by a revoke, and the node counts as ready again.
    slow.beat([late]);
    await until(() => slow.tokens('revoked').includes(formatToken(late.token)), 'a revoke of the old lease');
    expect(coordinator.jobs.nodes().find((node) => node.name === 'slow')?.state).toBe('ready');
  } finally {
    clearInterval(alive);
  }

  await until(() => coordinator.jobs.show(name).status === 'Completed', 'the end of the job');
  expect(readOutput(outputDir).text).toBe('quick\n');
  expect(slow.tokens('committed')).toEqual([]);
});
