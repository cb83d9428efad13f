/** What `doctor` makes of what it finds: plain facts in, lines out. */
import { describe, expect, test } from 'vitest';
import type { Diagnosis, SeenPath } from '../../common/core/diagnosis.ts';
import {
  certificateFinding,
  clockFinding,
  clockOffset,
  ownPathFinding,
  pathFinding,
  reserveBytesOf,
  roomFinding,
  runtimeFinding,
  type Finding,
} from '../../coordinator/core/doctor-checks.ts';
import { hereLines, type HereFacts } from '../../coordinator/core/doctor-here.ts';
import { doctorLines, type CoordinatorFacts, type NodeAnswer, type NodeFacts } from '../../coordinator/core/doctor.ts';

const dayMs = 86_400_000;

/** Every line that is not ok says what to do, and no other does. */
function holdsMend({ verdict, mend }: Pick<Finding, 'verdict' | 'mend'>): boolean {
  return (verdict === 'ok') === (mend === '');
}

describe('clocks', () => {
  test('the time that the other side took for its answer does not count', () => {
    // 10 ms there, 4 s of work, 10 ms back; the other clock is 500 ms ahead.
    const offset = clockOffset({ askedMs: 1_000, receivedMs: 1_510, sentMs: 5_510, heardMs: 5_020 });
    expect(offset).toEqual({ aheadMs: 500, errorMs: 10 });
  });

  test.each([
    [0, 5, 'ok'],
    [-900, 5, 'ok'],
    [1_004, 5, 'ok'],
    [1_006, 5, 'warn'],
    [-59_000, 5, 'warn'],
    [-61_000, 5, 'fail'],
    // As slow an answer tells nothing.
    [61_000, 61_000, 'ok'],
  ] as const)('%d ms ± %d ms is %s', (aheadMs, errorMs, verdict) => {
    const finding = clockFinding({ aheadMs, errorMs });
    expect([finding.verdict, holdsMend(finding)]).toEqual([verdict, true]);
  });

  test('says which way', () => {
    expect(clockFinding({ aheadMs: -61_000, errorMs: 4 }).found).toBe('61.0 s behind the coordinator (± 4 ms)');
    expect(clockFinding({ aheadMs: 2_500, errorMs: 4 }).found).toBe('2.5 s ahead of the coordinator (± 4 ms)');
  });
});

describe('one machine', () => {
  test.each([
    ['20.19.0', 'ok'],
    ['20.18.3', 'fail'],
    ['18.30.0', 'fail'],
    ['22.1.0', 'ok'],
  ] as const)('Node %s is %s', (runtime, verdict) => expect(runtimeFinding(runtime, '>=20.19').verdict).toBe(verdict));

  test.each([
    [11e9, 'ok'],
    [9e9, 'warn'],
    [67_108_864, 'warn'],
    [67_108_863, 'fail'],
  ] as const)('%d bytes free are %s', (freeBytes, verdict) => {
    const room = { freeBytes, totalBytes: 1e12 };
    const finding = roomFinding('/state', room, reserveBytesOf(room), 'make room');
    expect([finding.verdict, holdsMend(finding)]).toEqual([verdict, true]);
  });

  test('a disk that cannot be asked fails; the reserve of a small one is small', () => {
    expect(roomFinding('/state', null, 0, 'make room').verdict).toBe('fail');
    expect(reserveBytesOf({ freeBytes: 0, totalBytes: 1e8 })).toBe(5e6);
  });

  test.each([
    [31, 'ok'],
    [14, 'warn'],
    [0, 'fail'],
    [-1, 'fail'],
  ] as const)('a certificate with %d of 90 days left is %s', (days, verdict) => {
    const finding = certificateFinding(days * dayMs, 0, 90 * dayMs, 'renew');
    expect([finding.verdict, holdsMend(finding)]).toEqual([verdict, true]);
  });
});

const missing: SeenPath = { kind: 'missing' };
const file = (identity: string): SeenPath => ({ kind: 'file', identity });
const folder = (entries: number, names: readonly string[], hasMore = false): SeenPath => {
  return { kind: 'folder', entries, names, hasMore };
};
const unseen: SeenPath = { kind: 'unseen', problem: 'it does not answer within 3.5 s' };

describe('a path on two machines', () => {
  test.each([
    ['the same file', file('3-1000000000'), file('3-1000000000'), 'ok'],
    ['a file changed at another time', file('3-1000000000'), file('3-1000000001'), 'fail'],
    ['a file of another size', file('4-1000000000'), file('3-1000000000'), 'fail'],
    ['the same folder', folder(2, ['a', 'b']), folder(2, ['a', 'b']), 'ok'],
    ['a folder with another name', folder(2, ['a', 'c']), folder(2, ['a', 'b']), 'fail'],
    ['a folder with fewer names', folder(1, ['a']), folder(2, ['a', 'b']), 'fail'],
    ['an empty mount point', folder(0, []), folder(2, ['a', 'b']), 'fail'],
    ['folders too large to compare', folder(9, ['x'], true), folder(9, ['a'], true), 'ok'],
    ['a file for a folder', file('3-1000000000'), folder(0, []), 'fail'],
    ['nothing where the coordinator has a folder', missing, folder(0, []), 'fail'],
    ['something that the coordinator does not see', folder(0, []), missing, 'fail'],
    ['nothing on both', missing, missing, 'warn'],
    ['a mount that hangs', unseen, folder(0, []), 'fail'],
    ['what the coordinator could not look at', folder(0, []), unseen, 'warn'],
  ] as const)('%s', (_what, here, coordinator, verdict) => {
    const finding = pathFinding('/data', here, coordinator);
    expect([finding.check, finding.verdict, holdsMend(finding)]).toEqual(['path /data', verdict, true]);
  });

  test('says what differs', () => {
    expect(pathFinding('/d', folder(2, ['a', 'c']), folder(2, ['a', 'b'])).found).toContain('"c" here, "b" there');
    expect(pathFinding('/d', file('3-1000000000'), file('3-1000000001')).found).toContain(
      'changed at 1.000000000 here, a file of 3 bytes, changed at 1.000000001 there',
    );
  });

  test('on the coordinator it must be there', () => {
    expect([missing, unseen, folder(1, ['a'])].map((seen) => ownPathFinding('/d', seen).verdict)).toEqual([
      'fail',
      'fail',
      'ok',
    ]);
  });
});

const coordinator: CoordinatorFacts = {
  nowMs: 1e12,
  release: '0.1.0',
  runtime: '20.20.0',
  runtimeWanted: '>=20.19',
  stateDir: '/state',
  room: { freeBytes: 1e11, totalBytes: 1e12 },
  stall: null,
  journal: { agoMs: 1_500, seconds: 0.004 },
  loopLateMs: 2,
  doors: { nodes: '0.0.0.0:7077', http: '0.0.0.0:7078' },
  certificate: { endsMs: 1e12 + 80 * dayMs, lifeMs: 90 * dayMs },
  paths: [{ path: '/data', seen: folder(1, ['a']) }],
};
const diagnosis: Diagnosis = {
  id: 1,
  release: '0.1.0',
  runtime: '20.20.0',
  receivedMs: 1e12 + 5,
  sentMs: 1e12 + 105,
  scratchDir: '/tmp/batchmill',
  room: { freeBytes: 1e11, totalBytes: 1e12 },
  gpus: 2,
  gpuProblem: null,
  python: { path: '/usr/bin/python3', version: '3.11.4' },
  isPythonNamed: false,
  paths: [folder(1, ['a'])],
};
const node = (answer: NodeAnswer, more: Partial<NodeFacts> = {}): NodeFacts => {
  return { name: 'n1', quarantines: 0, certificate: null, answer, ...more };
};
const answered = (more: Partial<Diagnosis> = {}): NodeAnswer => {
  return { kind: 'answered', diagnosis: { ...diagnosis, ...more }, askedMs: 1e12, heardMs: 1e12 + 110 };
};
/** Lines that are not ok. */
const amiss = (facts: CoordinatorFacts, ...nodes: readonly NodeFacts[]): readonly string[] => {
  const lines = doctorLines(facts, nodes);
  expect(lines.every(holdsMend)).toBe(true);
  return lines.filter(({ verdict }) => verdict !== 'ok').map((one) => `${one.verdict} ${one.subject}: ${one.check}`);
};

describe('the cluster', () => {
  test('one in which all is well', () => {
    const lines = doctorLines(coordinator, [node(answered(), { certificate: coordinator.certificate })]);
    expect(lines.filter(({ verdict }) => verdict !== 'ok')).toEqual([]);
    expect(lines.map(({ subject, check }) => `${subject}: ${check}`)).toEqual([
      ...['release', 'node', 'ports', 'disk', 'journal', 'event loop', 'certificate', 'path /data'].map(
        (check) => `coordinator: ${check}`,
      ),
      ...['connection', 'release', 'node', 'clock', 'disk', 'python', 'gpu', 'path /data', 'certificate'].map(
        (check) => `n1: ${check}`,
      ),
    ]);
  });

  test('what is amiss with the coordinator', () => {
    const stall = { code: 'DISK_FULL', message: 'no room', detail: '' } as const;
    expect(amiss({ ...coordinator, stall, loopLateMs: 400 })).toEqual([
      'fail coordinator: journal',
      'warn coordinator: event loop',
      'warn coordinator: worker nodes',
    ]);
    expect(amiss({ ...coordinator, journal: { agoMs: 1, seconds: 2 } }, node(answered()))).toEqual([
      'warn coordinator: journal',
    ]);
    const ofStream = { code: 'JOURNAL_STREAM_STALLED', message: 'no answer', detail: '' } as const;
    const found = [stall, ofStream].flatMap((one) => doctorLines({ ...coordinator, stall: one }, []));
    expect(found.filter(({ check }) => check === 'journal').map(({ mend }) => mend)).toEqual([
      expect.stringContaining('make room'),
      expect.stringContaining('NATS servers'),
    ]);
  });

  test('what is amiss with a worker node', () => {
    const python = { path: null, problem: 'not found' } as const;
    const bad = answered({
      release: '0.0.9',
      python,
      gpuProblem: 'late',
      receivedMs: 1e12 + 70_000,
      sentMs: 1e12 + 70_100,
    });
    expect(amiss(coordinator, node(bad, { quarantines: 2 }))).toEqual([
      'warn n1: release',
      'fail n1: clock',
      'warn n1: python',
      'warn n1: gpu',
      'warn n1: quarantine',
    ]);
    expect(amiss(coordinator, node(answered({ python, isPythonNamed: true })))).toEqual(['fail n1: python']);
    expect(amiss(coordinator, node(answered({ paths: [] })))).toEqual(['fail n1: path /data']);
  });

  test('one that does not answer, one of an older release, one that is away', () => {
    const certificate = { endsMs: 1e12 - 1, lifeMs: dayMs };
    expect(amiss(coordinator, node({ kind: 'silent' }))).toEqual(['fail n1: connection']);
    expect(amiss(coordinator, node({ kind: 'older', release: '0.1.0' }))).toEqual(['warn n1: connection']);
    expect(amiss(coordinator, node({ kind: 'away' }, { certificate }))).toEqual([
      'fail n1: connection',
      'fail n1: certificate',
    ]);
  });
});

describe('here', () => {
  const here: HereFacts = {
    release: '0.1.0',
    runtime: '20.20.0',
    runtimeWanted: '>=20.19',
    origin: 'https://alpha:7078',
    authority: 'sha256:ab',
    hasToken: true,
    isInsecure: false,
    isLoopback: false,
    reached: { kind: 'answered', release: '0.1.0', clock: { aheadMs: 3, errorMs: 4 }, tripMs: 8 },
  };
  const told = (more: Partial<HereFacts>): readonly string[] => {
    const lines = hereLines({ ...here, ...more });
    expect(lines.every(holdsMend)).toBe(true);
    return lines.map(({ verdict, check }) => `${verdict} ${check}`);
  };

  test('the coordinator answers', () => {
    expect(told({})).toEqual(['ok release', 'ok node', 'ok address', 'ok tls', 'ok token', 'ok clock']);
    expect(told({ release: '0.2.0' })[0]).toBe('warn release');
    expect(told({ isInsecure: true })[3]).toBe('warn tls');
    expect(told({ isInsecure: true, isLoopback: true })[3]).toBe('ok tls');
  });

  test('it does not, or not to us', () => {
    const said = { message: 'm', help: 'h' };
    expect(told({ reached: { kind: 'unreachable', ...said } }).slice(2)).toEqual(['fail address']);
    expect(told({ reached: { kind: 'untrusted', ...said } }).slice(2)).toEqual(['ok address', 'fail tls']);
    expect(told({ reached: { kind: 'refused', ...said } }).slice(2)).toEqual(['ok address', 'ok tls', 'fail token']);
  });
});
