/** Targets of the cluster protocol: messages of worker nodes, and a real coordinator's gRPC server. */
import { credentials, Client, Metadata, type ServiceError } from '@grpc/grpc-js';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { crc32 } from 'node:zlib';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { isFinal } from '../../common/core/states.ts';
import { systemClock } from '../../common/io/clock.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { sessionKey } from '../../common/rpc/grpc-error.ts';
import { clusterService } from '../../common/rpc/load-cluster.ts';
import { readNodeMessage, writeNodeMessage } from '../../common/rpc/translate-node-message.ts';
import { createLog, type Log } from '../../common/io/log.ts';
import type { NodeMessage__Output } from '../../common/rpc/generated/batchmill/v1/NodeMessage.ts';
import { tolerantService, understood } from '../../coordinator/service/understood.ts';
import { openCoordinator, type Coordinator } from '../../coordinator/coordinator.ts';
import { FuzzDefect, nothingOpen, outcomeOf, same, type FuzzTarget, type Outcome } from './target.ts';
import type { Samples } from './mutate.ts';

type Method = 'Join' | 'Work' | 'Upload' | 'UploadLog' | 'FetchArtifact' | 'FetchInput';
const definition = (method: Method): (typeof clusterService extends () => infer S ? S : never)['service'][Method] =>
  clusterService().service[method];

/** Bytes of a request, with what is absent left to its default. */
function encoded(method: Method, message: unknown): Buffer {
  return (definition(method).requestSerialize as (value: unknown) => Buffer)(message);
}

const token = (counter: number): { epoch: number; counter: number } => ({ epoch: 1, counter });

function results(counter: number): unknown {
  const inline = Buffer.from('a,1\n');
  return {
    ...{
      token: token(counter),
      bytes: inline.length,
      crc32: crc32(inline),
      rows: 1,
      attribution: 'file',
      fileRows: [1],
      failed: [],
    },
    ...{
      schema: { columns: ['a:int'], prologue: 'a\n' },
      runSeconds: 0.1,
      inline,
      uploaded: false,
      customBytes: 0,
      customCrc32: 0,
    },
  };
}

const job = 'fuzz-job';

const diagnosis = {
  ...{ id: 1, release: '0.1.0', runtime: '20.20.0', receivedMs: 1_763_800_000_123, sentMs: 1_763_800_000_456 },
  ...{
    scratchDir: '/tmp/batchmill',
    freeBytes: 5e12,
    totalBytes: 6e12,
    gpus: 2,
    gpuProblem: 'p',
    python: '/usr/bin/python3',
  },
  ...{ pythonText: '3.11.4', pythonNamed: true },
  paths: [
    { kind: 'file', identity: '12-1763800000000000001' },
    { kind: 'folder', entries: 2, names: ['a', 'b'] },
    { kind: 'unseen', problem: 'EACCES' },
  ],
};

function nodeMessages(): readonly Buffer[] {
  const failure = {
    token: token(2),
    code: 'SCORER_FAILED',
    message: 'm',
    detail: 'd',
    fileIndex: 0,
    runSeconds: 1,
    hostExit: 'exit code 3',
  };
  return [
    { hello: { held: [{ token: token(1), job, first: 0, count: 1 }] }, want: 4 },
    { heartbeat: { sequence: 1, held: [token(1), token(2)], slotsBusy: 1, rssBytes: 1_000 } },
    { heartbeat: { sequence: 2, gpus: [{ name: '0', model: 'm', usedBytes: 1, totalBytes: 2, busyPercent: -1 }] } },
    { results: [results(1)] },
    { results: [results(3), results(4)], started: [token(5)], want: 3 },
    { results: [{ ...(results(6) as object), inline: Buffer.alloc(0), uploaded: true }] },
    { failures: [failure] },
    { hostFailures: [{ job, code: 'SCRIPT_INVALID', message: 'm', detail: 'd' }], returned: [token(7)] },
    { preparations: [{ job, text: 'building' }] },
    { diagnoses: [diagnosis] },
    {
      preparations: [{ job: 'no-such-job', text: 'building' }],
      hostFailures: [{ job: 'none', code: 'X', message: '', detail: '' }],
    },
    { leaving: true },
  ].map((message) => encoded('Work', message));
}

const wireWords = [
  job,
  'file',
  'range',
  'positional',
  'SCORER_FAILED',
  '\x08\xff\xff\xff\xff\x0f',
  '\x0a\x00',
  '\xff\xff\xff\xff\xff\xff\xff\xff\x7f',
].map((text) => Buffer.from(text, 'latin1'));

/** What of a message must come through reading and writing: texts are bounded, and codes of newer releases renamed. */
function sure(wire: NodeMessage__Output): unknown {
  const { failures, hostFailures, results, diagnoses, ...rest } = wire;
  return {
    ...rest,
    diagnoses: diagnoses.map(({ id, release, runtime, receivedMs, sentMs, gpus, pythonNamed, paths }) => ({
      ...{ id, release, runtime, receivedMs, sentMs, gpus, pythonNamed },
      paths: paths.map(({ kind, identity, entries, names, more }) =>
        kind === 'file' ? [kind, identity] : kind === 'folder' ? [kind, entries, names, more] : [],
      ),
    })),
    failures: failures.map(({ token: of, fileIndex, runSeconds, hostExit }) => [of, fileIndex, runSeconds, hostExit]),
    hostFailures: hostFailures.map((failure) => failure.job),
    results: results.map(({ failed, fileRows, inline, ...result }) => ({
      ...result,
      failed: failed.map(({ index }) => index),
      fileRows: result.attribution === 'range' ? [] : fileRows,
      inline: result.uploaded ? '' : Buffer.from(inline).toString('hex'),
    })),
  };
}

export const nodeMessage: FuzzTarget = {
  name: 'node-messages',
  weight: 16,
  open: () => {
    const decode = tolerantService(clusterService().service).Work.requestDeserialize;
    return Promise.resolve({
      samples: { valid: nodeMessages(), words: wireWords },
      run: (input) =>
        outcomeOf(() => {
          const wanted = understood(decode(Buffer.from(input)));
          const { message, inline } = readNodeMessage(wanted);
          const inlineOf = new Map(message.results.map((result, place) => [result, inline[place]]));
          const again = writeNodeMessage(message, (result) => inlineOf.get(result) ?? new Uint8Array(0));
          same(sure(decode(encoded('Work', again))), sure(wanted), 'a message of a node');
        }),
      close: nothingOpen,
    });
  },
};

/** What a worker node may say to a coordinator that scores: no answer INTERNAL, no end of the process. */
export const grpcWork: FuzzTarget = {
  name: 'grpc-work',
  weight: 1,
  open: async (dir) => {
    const rig = await GrpcRig.start(dir);
    return {
      samples: { valid: nodeMessages(), words: wireWords },
      run: (input) => rig.call('Work', Buffer.from(input)),
      close: () => rig.close(),
    };
  },
};

/** Its other calls. */
export const grpcCalls: FuzzTarget = {
  name: 'grpc-calls',
  weight: 1,
  open: async (dir) => {
    const rig = await GrpcRig.start(dir);
    const methods = ['Join', 'Upload', 'UploadLog', 'FetchArtifact', 'FetchInput'] as const;
    return {
      samples: rig.samples,
      run: (input, random) => rig.call(random.pick(methods), Buffer.from(input)),
      close: () => rig.close(),
    };
  },
};

class GrpcRig {
  readonly samples: Samples;
  readonly #coordinator: Coordinator;
  readonly #client: Client;
  readonly #dir: string;
  #session = '';
  #calls = 0;
  #jobs = 0;
  #dead: unknown = null;

  private constructor(dir: string, coordinator: Coordinator) {
    this.#dir = dir;
    this.#coordinator = coordinator;
    this.#client = new Client(coordinator.listen, credentials.createInsecure());
    coordinator.closed.catch((error: unknown) => (this.#dead = error));
    const joining = {
      protocol: 1,
      release: '0.1.0',
      joinToken: coordinator.joinToken,
      name: 'fuzz',
      incarnation: 'i',
      slots: 4,
      hostname: 'h',
      pid: 1,
    };
    const data = Buffer.from('a,1\n');
    this.samples = {
      valid: [
        encoded('Join', joining),
        encoded('Upload', { token: token(6), offset: 0, totalBytes: 4, data }),
        encoded('UploadLog', { job, name: 'user/stdout/process000.stdout.txt', offset: 0, data }),
        encoded('FetchArtifact', { digest: `sha256:${'0'.repeat(64)}`, offset: 0 }),
        encoded('FetchInput', { job, ordinal: 0, identity: '1-1', offset: 0 }),
      ],
      words: wireWords,
    };
  }

  static async start(dir: string): Promise<GrpcRig> {
    const input = join(dir, 'in');
    mkdirSync(input, { recursive: true });
    for (let file = 0; file < 50; file += 1) writeFileSync(join(input, `${String(file).padStart(3, '0')}.txt`), 'x');
    const coordinator = await openCoordinator({
      ...{ stateDir: join(dir, 'state'), listen: `unix:${join(dir, 'nodes.sock')}`, http: null, heartbeatMs: 60_000 },
      ...{ keepFinishedMs: null, clock: systemClock, random: Math.random, log: quiet },
    });
    const rig = new GrpcRig(dir, coordinator);
    await rig.#join();
    await rig.#submit();
    return rig;
  }

  async call(method: Method, bytes: Buffer): Promise<Outcome> {
    this.#calls += 1;
    if (this.#dead !== null) throw new FuzzDefect(`the coordinator has ended: ${String(this.#dead)}`);
    if (this.#calls % 50 === 0) {
      await this.#join();
      if (isFinal(this.#coordinator.jobs.show('last').status)) await this.#submit();
    }
    const status = await this.#send(method, bytes);
    if (status === 13 || status === 2) throw new FuzzDefect(`${method} is answered with gRPC status ${status}`);
    return status === 0 ? { kind: 'accepted' } : { kind: 'refused', code: `grpc ${status}` };
  }

  async close(): Promise<void> {
    this.#client.close();
    await this.#coordinator.close();
  }

  async #join(): Promise<void> {
    const request = {
      protocol: 1,
      release: '0.1.0',
      joinToken: this.#coordinator.joinToken,
      name: 'fuzz',
      incarnation: `i${this.#calls}`,
      slots: 4,
      hostname: 'h',
      pid: 1,
    };
    this.#session = await new Promise<string>((resolve, reject) => {
      const { path, requestSerialize, responseDeserialize } = definition('Join') as unknown as JoinDefinition;
      this.#client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, reply) => {
        if (error) reject(error);
        else resolve(reply?.session ?? '');
      });
    });
  }

  async #submit(): Promise<void> {
    this.#jobs += 1;
    const deployment = await loadDeployment(packageFile('test', 'e2e', 'scorers', 'hash-rows.mjs'));
    await this.#coordinator.jobs.submit({
      ...{
        deployment: { ...deployment, settings: { ...deployment.settings, miniBatchSize: { kind: 'files', files: 1 } } },
      },
      ...{ inputPath: join(this.#dir, 'in'), outputDir: join(this.#dir, `out-${this.#jobs}`), isOverwrite: true },
      name: this.#jobs === 1 ? job : `${job}-${this.#jobs}`,
    });
  }

  /** The status that the call ends with. */
  #send(method: Method, bytes: Buffer): Promise<number> {
    const metadata = new Metadata();
    metadata.set(sessionKey, this.#session);
    const { path, requestStream, responseStream } = definition(method);
    const raw = (value: Buffer): Buffer => value;
    return new Promise((resolve) => {
      const deadline = systemClock.wall() + 10_000;
      if (!requestStream && !responseStream) {
        const done = (error: ServiceError | null): void => resolve(error?.code ?? 0);
        this.#client.makeUnaryRequest(path, raw, raw, bytes, metadata, { deadline }, done);
        return;
      }
      const call = requestStream
        ? this.#client.makeBidiStreamRequest(path, raw, raw, metadata, { deadline })
        : this.#client.makeServerStreamRequest(path, raw, raw, bytes, metadata, { deadline });
      call.on('data', () => undefined);
      call.on('error', () => undefined);
      call.on('status', ({ code }: { readonly code: number }) => resolve(code));
      if (!(call instanceof Duplex)) return;
      // A stream begins with what the node holds, or nothing that follows is heard.
      if (method === 'Work') call.write(encoded('Work', { hello: { held: [] }, want: 4 }));
      call.write(bytes);
      call.end();
    });
  }
}

interface JoinDefinition {
  readonly path: string;
  readonly requestSerialize: (value: unknown) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => { readonly session: string };
}

const quiet: Log = createLog({ write: () => undefined, format: 'text', level: 'error', clock: systemClock });
