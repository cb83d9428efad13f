/** What chaos reads along on the wire: every token that is called committed, and nothing else. */
import { loadSync, type ServiceDefinition } from '@grpc/proto-loader';
import { expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { CommitWitness } from '../chaos/commit-witness.ts';
import { Random } from '../sim/world.ts';

const cluster = loadSync(packageFile('proto', 'batchmill', 'v1', 'cluster.proto'))[
  'batchmill.v1.Cluster'
] as ServiceDefinition;

/** A message of the coordinator as gRPC frames it. */
function message(call: string, content: object): Buffer {
  const method = cluster[call];
  if (!method) throw new Error(`there is no call ${call}`);
  const bytes = method.responseSerialize(content);
  const header = Buffer.alloc(5);
  header.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([header, bytes]);
}

/** An HTTP/2 frame. */
function frame(type: number, stream: number, payload: Buffer, flags = 0): Buffer {
  const header = Buffer.alloc(9);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  header[4] = flags;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

const data = 0;
const padded = 8;
const token = { epoch: 7, counter: 300 };
const other = { epoch: 2_000_000_000, counter: 1 };

function heard(pieces: readonly Buffer[]): readonly string[] {
  const tokens: string[] = [];
  const witness = new CommitWitness((one) => tokens.push(one));
  for (const piece of pieces) witness.read(piece);
  return tokens;
}

const work = message('Work', {
  grants: [{ token, job: 'a', first: 1, files: [{ path: 'f', sizeBytes: 3, identity: 'i' }], attempt: 1 }],
  committed: [token, other],
  revoked: [{ epoch: 9, counter: 9 }],
  heartbeatAck: 4,
});

test('committed tokens are heard, in one frame or in many, whatever else is on the connection', () => {
  const [first, second] = [work.subarray(0, 20), work.subarray(20)];
  const bytes = Buffer.concat([
    frame(4, 0, Buffer.alloc(6)),
    frame(data, 5, first),
    frame(1, 7, Buffer.from('headers')),
    frame(data, 7, message('Work', { committed: [{ epoch: 3, counter: 4 }] })),
    frame(data, 5, Buffer.concat([Buffer.from([2]), second, Buffer.alloc(2)]), padded),
  ]);
  const wanted = ['3.4', '7.300', '2000000000.1'];
  expect(heard([bytes])).toEqual(wanted);
  const random = new Random(1);
  for (let tries = 0; tries < 50; tries += 1) {
    const at = random.between(0, bytes.length);
    expect(heard([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(wanted);
  }
  expect(heard([...bytes].map((byte) => Buffer.from([byte])))).toEqual(wanted);
});

test.each([
  ['Join', { protocol: 1, release: 'r', session: 's'.repeat(24), epoch: 7 }],
  ['Upload', { creditBytes: 9, received: token, refused: { token, code: 'LEASE_STALE', message: 'm' } }],
  ['UploadLog', { job: 'a', name: 'b', received: 300 }],
  ['FetchInput', { data: work }],
  ['Work', { refused: [{ token, code: 'LEASE_STALE', message: 'm' }], recalled: [token] }],
])('nothing is heard of other messages: %s', (call, content) => {
  expect(heard([frame(data, 1, message(call, content))])).toEqual([]);
});
