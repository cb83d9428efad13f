/** Artifacts between worker nodes over mTLS: how often the coordinator gives one, and what becomes of peers that are none. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { once, setMaxListeners } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import type { Artifact } from '../../common/core/deployment.ts';
import { digest, incarnation, nodeName, type Digest } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { silentLog } from '../../common/io/log.ts';
import { plainTrust, type ClusterTrust } from '../../common/rpc/credentials.ts';
import { Authority, requestCertificate } from '../../common/security/authority.ts';
import { artifactTicket } from '../../common/security/artifact-ticket.ts';
import { formatListing } from '../../common/storage/artifact-listing.ts';
import { NodeDesk } from '../../coordinator/node-desk.ts';
import { BulkLink } from '../../worker/bulk-link.ts';
import { ControlLink } from '../../worker/control-link.ts';
import { NodeIdentity } from '../../worker/node-identity.ts';
import { ArtifactPeers } from '../../worker/peers/artifact-peers.ts';
import { CoordinatorAddresses } from '../../worker/coordinator-addresses.ts';
import { ArtifactServer } from '../../worker/peers/artifact-server.ts';
import { PeerSource } from '../../worker/peers/peer-source.ts';
import { ServedArtifacts } from '../../worker/peers/served-artifacts.ts';
import { ArtifactCache } from '../../worker/staging/artifact-cache.ts';
import { smallFiles, writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';

const nodesCount = 20;
const digestOf = (bytes: Uint8Array): Digest => digest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);

interface Node {
  readonly cache: ArtifactCache;
  readonly trust: ClusterTrust;
}

let cluster: LocalCluster;
let nodes: readonly Node[] = [];
const over = new AbortController();
const closers: (() => void)[] = [];
const { signal } = over;
// Of all nodes together.
setMaxListeners(0, signal);

/** A worker node without slots and hosts: what it fetches, it is told to by the test. */
async function joinNode(name: string): Promise<Node> {
  const { listen: address, joinToken, access } = cluster.coordinator;
  const dir = join(cluster.dir, name);
  mkdirSync(dir);
  const identity = await NodeIdentity.open({
    ...{
      addresses: new CoordinatorAddresses([address]),
      name,
      dir,
      token: joinToken,
      fingerprint: access?.authority.fingerprint ?? null,
    },
    ...{ joinMsMax: 30_000, busyMsMax: 30_000, clock: systemClock, delay, log: silentLog },
  });
  const trust = (): ClusterTrust => identity.trust;
  const request = {
    ...{ protocol: limits.protocolVersion, release: 'test', joinToken: '', name: nodeName(name), slots: 1, labels: {} },
    ...{ incarnation: incarnation(name), hostname: name, pid: 1, answersDiagnose: false },
  };
  const session = await new Promise<string>((resolve, reject) => {
    const link = new ControlLink({
      ...{ address, trust, request, clock: systemClock, inlineOf: () => Buffer.alloc(0) },
      ...{ onMessage: () => undefined, onWritable: () => undefined },
      onJoined: (reply) => resolve(reply.session),
      onLost: (failure) => reject(new Error(failure.message)),
    });
    link.join();
    closers.push(() => link.close());
  });
  const source = new BulkLink({ address, trust, session, creditBytes: 1_000_000 });
  closers.push(
    () => identity.close(),
    () => source.close(),
  );
  const given = { self: name, link: () => source, trust, host: '127.0.0.1', signal, delay, random: Math.random };
  const peers = new ArtifactPeers({ ...given, log: silentLog });
  const cache = { root: join(dir, 'artifacts'), bytesMax: 1e9, clock: systemClock, log: silentLog };
  return { cache: new ArtifactCache({ ...cache, source, peers, delay, signal }), trust: trust() };
}

beforeAll(async () => {
  cluster = await LocalCluster.start({ security: { joinTokenMs: 600_000 } });
  nodes = await Promise.all(Array.from({ length: nodesCount }, (_, index) => joinNode(`n${index}`)));
}, 120_000);
afterAll(async () => {
  over.abort();
  closers.forEach((close) => close());
  await cluster.close();
});

/** Keeps the model in the coordinator, as a job's. */
async function submit(name: string, model: string): Promise<void> {
  const path = writeDeployment(cluster.dir, name, { script: 'hash-rows.mjs', more: ['model:', `  path: ${model}`] });
  const inputPath = writeInputs(join(cluster.dir, 'in'), smallFiles(1));
  const outputDir = join(cluster.dir, `out-${name}`);
  await cluster.coordinator.jobs.submit({
    ...{ deployment: await loadDeployment(path), inputPath, outputDir, isOverwrite: false, name },
  });
}

test('twenty nodes that want a model at once take it from the coordinator twice, a file as well as a folder', async () => {
  const bytes = randomBytes(3 * limits.artifactSharedBytesMin);
  writeFileSync(join(cluster.dir, 'model.onnx'), bytes);
  await submit('file', join(cluster.dir, 'model.onnx'));
  const model: Artifact = { kind: 'file', name: 'model.onnx', digest: digestOf(bytes), bytes: bytes.length };
  const served = vi.spyOn(NodeDesk.prototype, 'artifact');
  const local = await Promise.all(nodes.map(({ cache }) => cache.localise(model)));
  expect(local.every(({ path }) => readFileSync(path).equals(bytes))).toBe(true);
  expect(served.mock.calls.map(([of]) => of)).toEqual(Array(limits.artifactSeedsMax).fill(model.digest));

  const parts = Array.from({ length: 3 }, (_, index) => [`layer-${index}/w.bin`, randomBytes(400_000)] as const);
  writeInputs(join(cluster.dir, 'model'), parts);
  await submit('folder', join(cluster.dir, 'model'));
  const listed = parts.map(([path, one]) => ({ path, digest: digestOf(one), bytes: one.length, mode: 0o644 }));
  const folderBytes = listed.reduce((sum, file) => sum + file.bytes, 0);
  const folder: Artifact = {
    kind: 'folder',
    name: 'model',
    digest: digestOf(formatListing(listed)),
    bytes: folderBytes,
  };
  served.mockClear();
  const folders = await Promise.all(nodes.map(({ cache }) => cache.localise(folder)));
  const isWhole = ({ path }: { path: string }): boolean =>
    parts.every(([file, one]) => readFileSync(join(path, file)).equals(one));
  expect(folders.every(isWhole)).toBe(true);
  expect(served).toHaveBeenCalledTimes(limits.artifactSeedsMax * (parts.length + 1));
});

/** Serves `bytes` to nodes that come with a certificate of the cluster, as node n0. */
async function serverOf(bytes: Uint8Array): Promise<{ server: ArtifactServer; model: Artifact }> {
  const path = join(cluster.dir, `served-${closers.length}`);
  writeFileSync(path, bytes);
  const artifacts = new ServedArtifacts();
  const model: Artifact = { kind: 'file', name: 'm.bin', digest: digestOf(bytes), bytes: bytes.length };
  artifacts.add(model, path, null);
  const trust = nodes[0]?.trust ?? plainTrust;
  const server = await ArtifactServer.start({ artifacts, trust, host: '127.0.0.1' });
  closers.push(() => server.close());
  return { server, model };
}

async function read(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of source) pieces.push(piece);
  return Buffer.concat(pieces);
}

test('a node gives an artifact to whom the coordinator has sent, from any byte on, and to nobody else', async () => {
  const bytes = randomBytes(limits.artifactSharedBytesMin);
  const { server, model } = await serverOf(bytes);
  const { digest: artifact } = model;
  const { port, key } = server;
  const from = (place: Partial<ConstructorParameters<typeof PeerSource>[0]['place']>, trust: ClusterTrust) =>
    new PeerSource({
      place: { node: 'n0', host: '127.0.0.1', port, ticket: artifactTicket(key, artifact, 'n1'), ...place },
      ...{ self: 'n1', artifact, bytes: model.bytes, trust, signal },
    });
  const [zero, one, two] = nodes.map(({ trust }) => trust) as [ClusterTrust, ClusterTrust, ClusterTrust];
  expect((await read(from({}, one).open(artifact, 0))).equals(bytes)).toBe(true);
  expect((await read(from({}, one).open(artifact, 1_000_000))).equals(bytes.subarray(1_000_000))).toBe(true);
  const refused = (source: PeerSource, file: Digest = artifact) => expect(read(source.open(file, 0))).rejects;
  // Another's ticket, another's name, none of its files, another server than the one that was named, no certificate.
  await refused(from({ ticket: artifactTicket(key, artifact, 'n2') }, one)).toThrow('it answers 403');
  await refused(from({}, two)).toThrow('it answers 403');
  await refused(from({}, one), digestOf(Buffer.from('other'))).toThrow('it answers 404');
  await refused(from({ node: 'n5' }, one)).toThrow('has no certificate of worker node n5');
  await refused(from({}, { ...zero, identity: null } as ClusterTrust)).toThrow();
  await refused(from({}, plainTrust)).toThrow();
  const forger = await Authority.of(await Authority.make(systemClock.wall()));
  const { key: own, request } = await requestCertificate('n1');
  const { cert } = await forger.issueNode(request, 'n1', systemClock.wall(), 60_000);
  await refused(from({}, { ...one, identity: { key: own, cert } } as ClusterTrust)).toThrow();
  // And one that only says that it is n0.
  const believesForger = { kind: 'tls' as const, authority: forger.cert, identity: { key: own, cert } };
  await refused(from({}, believesForger)).toThrow('has no certificate of worker node n0');
});

test('a request whose path is no URL is refused, and the node lives', async () => {
  const artifacts = new ServedArtifacts();
  const server = await ArtifactServer.start({ artifacts, trust: plainTrust, host: '127.0.0.1' });
  closers.push(() => server.close());
  for (let time = 0; time < 2; time += 1) {
    const socket = connect({ host: '127.0.0.1', port: server.port });
    socket.end('GET // HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n');
    expect(String(await once(socket, 'data'))).toMatch(/^HTTP\/1\.1 400 /);
  }
});

test('peers with wrong bytes, half of them, or none are left for the next, and the coordinator has it in the end', async () => {
  const bytes = randomBytes(limits.artifactSharedBytesMin);
  const artifact = digestOf(bytes);
  const model: Artifact = { kind: 'file', name: 'm.bin', digest: artifact, bytes: bytes.length };
  const answers = [randomBytes(bytes.length), bytes.subarray(0, 1_000), null];
  const servers = answers.map((answer): Server => {
    // The last one promises more than it says.
    const server = createServer((_request, response) => {
      if (answer === null) return void response.writeHead(200, { 'content-length': bytes.length }).write('x');
      response.end(answer);
    });
    return server.listen(0, '127.0.0.1');
  });
  // Nobody listens there any more.
  const gone = createServer().listen(0, '127.0.0.1');
  await Promise.all([...servers, gone].map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  ports.push((gone.address() as AddressInfo).port);
  gone.close();
  const asked: string[][] = [];
  const has = vi.fn();
  const peers = {
    has,
    find: (_model: Artifact, failed: readonly string[]): Promise<PeerSource | null> => {
      asked.push([...failed]);
      const port = ports[failed.length];
      if (port === undefined) return Promise.resolve(null);
      const place = { node: `bad-${failed.length}`, host: '127.0.0.1', port, ticket: '' };
      return Promise.resolve(new PeerSource({ self: 'n', place, artifact, bytes: 1, trust: plainTrust, signal }));
    },
  };
  const source = {
    artifact: vi.fn(async function* () {
      yield bytes;
    }),
    input: () => {
      throw new Error('no inputs here');
    },
  };
  const root = join(cluster.dir, 'bad-peers');
  const cache = new ArtifactCache({ root, bytesMax: 1e9, source, peers, clock: systemClock, delay, signal });
  const local = await cache.localise(model);
  expect(readFileSync(local.path).equals(bytes)).toBe(true);
  expect(asked.at(-1)).toEqual(['bad-0', 'bad-1', 'bad-2', 'bad-3']);
  expect(source.artifact).toHaveBeenCalledOnce();
  expect(has).toHaveBeenCalledExactlyOnceWith(model, local.path, null);
  for (const server of servers) server.closeAllConnections();
  for (const server of servers) server.close();
});
