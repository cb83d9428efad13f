import { noCircumstances } from '../../common/core/cluster-messages.ts';
import { scaledOnnxSettings } from '../../common/core/onnx-settings.ts';
import { describe, expect, it } from 'vitest';
import type { Failure } from '../../common/core/batch-error.ts';
import type { Diagnosis } from '../../common/core/diagnosis.ts';
import {
  emptyCoordinatorMessage,
  emptyNodeMessage,
  type CoordinatorMessage,
  type JobSpec,
  type NodeMessage,
} from '../../common/core/cluster-messages.ts';
import { digest, incarnation, jobName, nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { noShadowCounts } from '../../common/core/shadow.ts';
import { clusterService } from '../../common/rpc/load-cluster.ts';
import {
  readCoordinatorMessage,
  readJob,
  writeCoordinatorMessage,
  writeJob,
} from '../../common/rpc/translate-coordinator-message.ts';
import {
  readJoinReply,
  readJoinRequest,
  readNodeMessage,
  writeFileFailures,
  writeJoinReply,
  writeJoinRequest,
  writeNodeMessage,
} from '../../common/rpc/translate-node-message.ts';
import { failing } from '../helpers/failing.ts';

const { Work, Join } = clusterService().service;
const token = (counter: number) => ({ epoch: 3, counter });
const failure: Failure = { code: 'SCORER_FAILED', message: 'ValueError: ü', detail: 'Traceback' };
const diagnosis: Diagnosis = {
  id: 7,
  release: '0.1.0',
  runtime: '20.20.0',
  receivedMs: 1_763_800_000_123,
  sentMs: 1_763_800_000_456,
  scratchDir: '/tmp/batchmill',
  room: { freeBytes: 5e12, totalBytes: 6e12 },
  gpus: 2,
  gpuProblem: null,
  python: { path: '/usr/bin/python3', version: '3.11.4' },
  isPythonNamed: true,
  paths: [
    { kind: 'missing' },
    { kind: 'file', identity: '12-1763800000000000001' },
    { kind: 'folder', entries: 2, names: ['a', 'ü'], hasMore: false },
    { kind: 'folder', entries: 100_000, names: ['z'], hasMore: true },
    { kind: 'other' },
    { kind: 'unseen', problem: 'EACCES' },
  ],
};
const noBytes = () => new Uint8Array(0);

/** Through the very bytes that travel. */
function sendNode(message: NodeMessage, inline = noBytes) {
  return readNodeMessage(Work.requestDeserialize(Work.requestSerialize(writeNodeMessage(message, inline))));
}

function sendCoordinator(message: CoordinatorMessage): CoordinatorMessage {
  return readCoordinatorMessage(Work.responseDeserialize(Work.responseSerialize(writeCoordinatorMessage(message))));
}

const everySettingOfOne: JobSpec = {
  name: jobName('digits-1'),
  deployment: 'digits',
  scorer: { kind: 'onnx', settings: scaledOnnxSettings(1 / 255) },
  model: { kind: 'file', name: 'mnist.onnx', digest: digest(`sha256:${'a'.repeat(64)}`), bytes: 2 ** 40 },
  code: { kind: 'folder', name: 'code', digest: digest(`sha256:${'b'.repeat(64)}`), bytes: 0 },
  environment: {
    kind: 'image',
    image: 'registry/python:3',
    conda: { name: 'conda.yaml', yaml: 'dependencies: [python]', digest: digest(`sha256:${'c'.repeat(64)}`) },
  },
  settings: {
    timeoutMs: limits.timeoutMsMax,
    outputFormat: 'jsonl',
    outputAction: 'summary_only',
    loggingLevel: 'warning',
    environmentVariables: { A: '1', EMPTY: '' },
    customOutput: 'shared',
    outputFileName: 'rows.jsonl',
    memoryBytesMax: 2 ** 40,
    concurrencyMax: 2,
    gpu: 0.5,
    keepWarm: true,
  },
  owner: 'ann',
  inputRoot: '/data/in',
  attemptsLocation: 's3://bucket/out/_attempts/job-1',
  outputDir: '/data/out',
};

const { deployment, scorer, model, code, environment, settings: settingsOfOne } = everySettingOfOne;
const everySetting: JobSpec = {
  ...everySettingOfOne,
  shadow: {
    ...{ scorer, code: model, model: code, environment, tolerance: 0.125 },
    ...{ deployment: `not ${deployment}`, settings: { ...settingsOfOne, secrets: { KEY: 'value' } } },
  },
};

describe('what a worker node says', () => {
  const everything: NodeMessage = {
    hello: [{ token: token(1), job: jobName('a'), first: 0, count: 10 }],
    heartbeat: {
      ...{ sequence: 7, held: [token(1), token(2)], slotsBusy: 2, rssBytes: 2 ** 40 },
      gpus: [
        { name: '0', model: 'NVIDIA H200', usedBytes: 2 ** 37, totalBytes: 2 ** 38, busyPercent: 0 },
        { name: 'MIG-a', model: '', usedBytes: 0, totalBytes: null, busyPercent: null },
      ],
    },
    want: 12,
    started: [token(2)],
    results: [
      {
        token: token(3),
        summary: {
          rows: 3,
          attribution: 'file',
          fileRows: [2, 0, 1],
          failed: [{ index: 1, code: 'INPUT_DECODE_FAILED', message: 'no PNG' }],
          schema: { columns: ['file:utf8'], prologue: 'file\n' },
          runSeconds: 0.25,
          peakMemoryBytes: 2 ** 40,
        },
        bytes: 4,
        crc32: 0xffff_ffff,
        customBytes: 2 ** 33,
        customCrc32: 0xffff_fffe,
        isUploaded: false,
      },
      {
        token: token(4),
        summary: {
          rows: 0,
          attribution: 'range',
          fileRows: null,
          failed: [],
          schema: { columns: ['a:int64'], prologue: '/////wAA', prologueForm: 'base64', features: ['b', 'a'] },
          runSeconds: 0,
          peakMemoryBytes: null,
        },
        bytes: 2 ** 33,
        crc32: 0,
        customBytes: 0,
        customCrc32: 0,
        shadow: {
          counts: {
            ...{ rowsSame: 1, rowsDifferent: 2, filesSame: 3, filesDifferent: 4, filesOtherRows: 5 },
            ...{ filesFailedDefault: 6, filesFailedShadow: 7, filesFailedBoth: 8 },
          },
          ...{ failure: null, runSeconds: 0.5, columns: { default: ['a'], shadow: ['b', 'c'] } },
        },
        isUploaded: true,
      },
      {
        token: token(8),
        summary: {
          ...{ rows: 0, attribution: 'range', fileRows: null, failed: [], schema: null, runSeconds: 0 },
          peakMemoryBytes: null,
        },
        ...{ bytes: 0, crc32: 0, customBytes: 0, customCrc32: 0 },
        shadow: {
          counts: noShadowCounts,
          ...{ failure: { code: 'SCORER_TIMEOUT', message: 'too long' }, runSeconds: 30, columns: null },
        },
        isUploaded: true,
      },
    ],
    failures: [
      {
        token: token(5),
        failure,
        fileIndex: -1,
        circumstances: { runSeconds: 1.5, peakMemoryBytes: 2 ** 40, hostExit: 'signal SIGKILL' },
      },
      { token: token(7), failure, fileIndex: 0, circumstances: noCircumstances },
    ],
    hostFailures: [{ job: jobName('a'), failure }],
    preparations: [{ job: jobName('a'), text: 'pip: 3 of 9 packages' }],
    diagnoses: [diagnosis],
    returned: [token(6)],
    isLeaving: true,
  };

  it('arrives as it was said, with inline bytes beside it', () => {
    const asked: unknown[] = [];
    const read = readNodeMessage(
      Work.requestDeserialize(
        Work.requestSerialize(
          writeNodeMessage(everything, (result) => {
            asked.push(result.token);
            return Buffer.from('rows');
          }),
        ),
      ),
    );
    expect(read.message).toEqual(everything);
    expect(read.inline.map((bytes) => Buffer.from(bytes).toString())).toEqual(['rows', '', '']);
    // Bytes that were uploaded are not asked for again.
    expect(asked).toEqual([token(3)]);
  });

  it('tells an empty hello from none', () => {
    expect(sendNode({ ...emptyNodeMessage, hello: [] }).message.hello).toEqual([]);
    expect(sendNode(emptyNodeMessage).message).toEqual(emptyNodeMessage);
  });

  it('may carry a code of a newer release, which becomes INTERNAL and stays in the text', () => {
    const report = {
      token: token(1),
      failure: { ...failure, code: 'QUANTUM_FLUX' as never },
      fileIndex: 2,
      circumstances: noCircumstances,
    };
    const [read] = sendNode({ ...emptyNodeMessage, failures: [report] }).message.failures;
    expect(read).toMatchObject({ fileIndex: 2, failure: { code: 'INTERNAL', message: 'QUANTUM_FLUX: ValueError: ü' } });
  });

  it('bounds what is said of GPUs', () => {
    const gpu = {
      name: 'n'.repeat(999),
      model: 'm'.repeat(999),
      usedBytes: 2 ** 63,
      totalBytes: 2 ** 63,
      busyPercent: 999,
    };
    const heartbeat = { sequence: 1, held: [], slotsBusy: 0, rssBytes: 0, gpus: [gpu] };
    const wire = Work.requestDeserialize(Work.requestSerialize({ heartbeat }));
    const [read] = readNodeMessage(wire).message.heartbeat?.gpus ?? [];
    const bytes = Number.MAX_SAFE_INTEGER;
    expect(read).toMatchObject({ usedBytes: bytes, totalBytes: bytes, busyPercent: 100 });
    expect([read?.name.length, read?.model.length]).toEqual([limits.gpuNameCharsMax, limits.gpuNameCharsMax]);
    const many = sendNode({ ...emptyNodeMessage, heartbeat: { ...heartbeat, gpus: Array<typeof gpu>(500).fill(gpu) } });
    expect(many.message.heartbeat?.gpus).toHaveLength(limits.gpusTold);
  });

  it('bounds the texts of a failure: the head of the message, the end of the detail', () => {
    const long = {
      code: 'SCORER_FAILED',
      message: `head${'m'.repeat(99_999)}`,
      detail: `${'d'.repeat(99_999)}tail`,
    } as const;
    const [read] = sendNode({ ...emptyNodeMessage, hostFailures: [{ job: jobName('a'), failure: long }] }).message
      .hostFailures;
    expect(read?.failure.message).toHaveLength(limits.failureMessageCharsMax);
    expect(read?.failure.message.startsWith('head')).toBe(true);
    expect(read?.failure.detail).toHaveLength(limits.failureDetailCharsMax);
    expect(read?.failure.detail.endsWith('tail')).toBe(true);
  });

  it('fits a message even when every file of the largest mini-batch has failed with a long reason', () => {
    const failed = Array.from({ length: limits.miniBatchFilesMax }, (_, index) => ({
      index,
      code: 'INPUT_DECODE_FAILED' as const,
      message: 'x'.repeat(4_000),
    }));
    const written = writeFileFailures(failed);
    expect(written).toHaveLength(limits.miniBatchFilesMax);
    expect(written.reduce((sum, one) => sum + (one.message ?? '').length, 0)).toBeLessThanOrEqual(
      limits.fileFailuresCharsMax,
    );
    const [result] = everything.results;
    if (!result) throw new Error('there is a result above');
    const message = { ...emptyNodeMessage, results: [{ ...result, summary: { ...result.summary, failed } }] };
    expect(Work.requestSerialize(writeNodeMessage(message, noBytes)).length).toBeLessThan(limits.messageBytesMax);
    expect(writeFileFailures(failed.slice(0, 1))[0]?.message).toHaveLength(4_000);
  });

  it.each([
    ['a lease without its token', { started: [{}, null] }, 'REQUEST_INVALID'],
    ['an attribution of no release', { results: [{ token: { epoch: 1 }, attribution: 'guess' }] }, 'PROTOCOL_MISMATCH'],
  ])('is refused when it is %s', (_, patch, code) => {
    const whole = { ...Work.requestDeserialize(Work.requestSerialize({})), ...patch };
    if ('results' in patch)
      Object.assign(whole, { results: [{ ...patch.results?.[0], failed: [], fileRows: [], inline: Buffer.of() }] });
    expect(() => readNodeMessage(whole as never)).toThrowError(expect.objectContaining({ code }));
  });
});

describe('what the coordinator says', () => {
  const everything: CoordinatorMessage = {
    jobs: [everySetting],
    grants: [
      {
        token: token(1),
        job: jobName('digits-1'),
        first: 40,
        files: [
          { path: 'ü/ b.png', sizeBytes: 2 ** 41, identity: '5-1700000000000000001' },
          {
            path: 'c.csv',
            sizeBytes: 9,
            identity: '"x"',
            part: { begin: 2 ** 40, end: 2 ** 40 + 9, fileBytes: 2 ** 41 },
          },
        ],
        attempt: 2,
        isAlone: true,
        columns: ['a:int64'],
      },
    ],
    committed: [token(2)],
    refused: [{ token: token(3), failure: { code: 'LEASE_STALE', message: 'leased under 3.9', detail: '' } }],
    revoked: [token(4)],
    recalled: [token(6)],
    endedJobs: [jobName('b')],
    drainedJobs: [jobName('c')],
    diagnose: [{ id: 7, paths: ['/data', '/data/ü.csv'] }],
    heartbeatAck: 9,
    isDrain: true,
    drainMs: 90_000,
    handoverMs: 5_000,
    adoption: [{ oldToken: { epoch: 2, counter: 8 }, newToken: token(5) }],
  };

  it('arrives as it was said', () => {
    expect(sendCoordinator(everything)).toEqual(everything);
  });

  it('gives a part no identity where a node that knows of no parts would look for one', () => {
    const [grant] = writeCoordinatorMessage(everything).grants ?? [];
    expect(grant?.files?.map(({ identity, part }) => [identity, part?.identity])).toEqual([
      ['5-1700000000000000001', undefined],
      ['', '"x"'],
    ]);
  });

  it('tells an empty adoption from none', () => {
    expect(sendCoordinator({ ...emptyCoordinatorMessage, adoption: [] }).adoption).toEqual([]);
    expect(sendCoordinator(emptyCoordinatorMessage)).toEqual(emptyCoordinatorMessage);
  });

  it.each([
    { ...everySetting, scorer: { kind: 'python', script: 'batch_driver.py' }, model: null },
    { ...everySetting, scorer: { kind: 'node', script: 'score.ts' }, code: null },
    { ...everySetting, scorer: { kind: 'mlflow', rowsPerPredict: 100 }, environment: { kind: 'host', python: null } },
    { ...everySetting, environment: { kind: 'host', python: '/opt/python' }, outputDir: null },
    { ...everySetting, environment: { kind: 'image', image: 'a', conda: null } },
    {
      ...everySetting,
      settings: { ...everySetting.settings, concurrencyMax: null, environmentVariables: {}, memoryBytesMax: null },
    },
  ] as const)('keeps what a job lacks', (job) => {
    expect(sendCoordinator({ ...emptyCoordinatorMessage, jobs: [job] }).jobs).toEqual([job]);
  });

  it.each([
    ['PROTOCOL_MISMATCH', { scorer: { kind: 'wasm', script: '' } }],
    ['PROTOCOL_MISMATCH', { settings: { ...writeJob(everySetting).settings, outputFormat: 'orc' } }],
    ['REQUEST_INVALID', { scorer: null }],
    ['REQUEST_INVALID', { settings: null }],
  ])('is refused with %s when a job is of no known form', (code, patch) => {
    expect(() => readJob({ ...writeJob(everySetting), ...patch } as never)).toThrowError(
      expect.objectContaining({ code }),
    );
  });

  it('is refused when an adoption does not pair its tokens', () => {
    const adoption = { oldTokens: [token(1), token(2)], newTokens: [token(3)] };
    const wire = { ...Work.responseDeserialize(Work.responseSerialize({})), adoption };
    expect(() => readCoordinatorMessage(wire)).toThrowError(expect.objectContaining({ code: 'REQUEST_INVALID' }));
  });
});

describe('joining', () => {
  it('arrives as it was said, both ways', () => {
    const request = {
      protocol: 1,
      protocolNewest: 2,
      release: '0.1.0',
      joinToken: 't',
      name: nodeName('n'),
      incarnation: incarnation('i'),
      slots: 4,
      hostname: 'h',
      pid: 12,
      labels: { gpu: 'a100', 'site.rack': 'r7' },
      answersDiagnose: true,
      leavesInMs: 3_600_000,
    };
    expect(readJoinRequest(Join.requestDeserialize(Join.requestSerialize(writeJoinRequest(request))))).toEqual(request);
    const reply = {
      protocol: 1,
      release: '0.1.0',
      session: 's',
      epoch: 5,
      heartbeatMs: 5_000,
      leaseMs: 30_000,
      uploadCreditBytes: 2 ** 33,
    };
    expect(readJoinReply(Join.responseDeserialize(Join.responseSerialize(writeJoinReply(reply))))).toEqual(reply);
  });
});

describe('a diagnosis', () => {
  it('of a machine of which little is known arrives as it was said', () => {
    const python = { path: null, problem: 'python3: not found' } as const;
    const said: Diagnosis = { ...diagnosis, room: null, gpus: 0, gpuProblem: 'late', python, paths: [] };
    expect(sendNode({ ...emptyNodeMessage, diagnoses: [said] }).message.diagnoses).toEqual([said]);
  });

  it('is cut where a text is long, and refused where no release sends so much', () => {
    const gpuProblem = 'x'.repeat(100_000);
    const { message } = sendNode({ ...emptyNodeMessage, diagnoses: [{ ...diagnosis, gpuProblem }] });
    expect(message.diagnoses[0]?.gpuProblem).toHaveLength(limits.diagnosisTextCharsMax);
    const folder = { kind: 'folder', entries: 9, hasMore: false } as const;
    const most = Array.from({ length: limits.diagnosisNamesMax }, () => 'n'.repeat(255));
    const full = Array.from({ length: limits.diagnosisPathsMax }, () => ({ ...folder, names: most }));
    expect(
      sendNode({ ...emptyNodeMessage, diagnoses: [{ ...diagnosis, paths: full }] }).message.diagnoses,
    ).toHaveLength(1);
    for (const paths of [
      [...full, { ...folder, names: [] }],
      [{ ...folder, names: [...most, 'n'] }],
      [{ ...folder, names: ['n'.repeat(70_000)] }],
    ]) {
      expect(() => sendNode({ ...emptyNodeMessage, diagnoses: [{ ...diagnosis, paths }] })).toThrow(
        failing('REQUEST_INVALID', 'a diagnosis has at most'),
      );
    }
  });

  it('is asked for of so many paths at most', () => {
    const ask = (paths: readonly string[]) =>
      sendCoordinator({ ...emptyCoordinatorMessage, diagnose: [{ id: 1, paths }] });
    expect(ask(Array.from({ length: 16 }, () => '/a')).diagnose[0]?.paths).toHaveLength(16);
    expect(() => ask(Array.from({ length: 17 }, () => '/a'))).toThrow(failing('REQUEST_INVALID', 'at most 16 paths'));
    expect(() => ask(['/'.repeat(4_097)])).toThrow(failing('REQUEST_INVALID', 'of 4096 characters'));
  });
});
