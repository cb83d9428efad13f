import { describe, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import { digest } from '../../common/core/ids.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import { deploymentKey } from '../../coordinator/core/deployment-key.ts';
import {
  learn,
  lengthOf,
  nothingLearned,
  remembered,
  type Learned,
  type Sample,
} from '../../coordinator/core/rates.ts';
import { Harness } from '../helpers/ledger-harness.ts';

/** Numbers between 0 and 1 that are the same in each run. */
function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function learnAll(samples: readonly Sample[], from: Learned = nothingLearned): Learned {
  return samples.reduce(learn, from);
}

interface Truth {
  readonly perBatch: number;
  readonly perFile: number;
  readonly perByte: number;
}

/** Mini-batches of 1 to 40 files of up to 20 KB that take what `truth` says, times what `noise` gives. */
function samplesOf(count: number, truth: Truth, noise: () => number = () => 1): readonly Sample[] {
  const random = chance(count);
  return Array.from({ length: count }, () => {
    const files = 1 + Math.floor(40 * random());
    const bytes = Math.floor(files * 20_000 * random());
    return { files, bytes, seconds: noise() * (truth.perBatch + truth.perFile * files + truth.perByte * bytes) };
  });
}

/** Of the length of a mini-batch of 20 files and 200 KB. */
function errorOf(learned: Learned, { perBatch, perFile, perByte }: Truth): number {
  const wanted = perBatch + 20 * perFile + 200_000 * perByte;
  return Math.abs(lengthOf(learned, 1, 20, 200_000) / wanted - 1);
}

describe('how long mini-batches take', () => {
  const truths: readonly [string, Truth][] = [
    ['by bytes', { perBatch: 0, perFile: 0, perByte: 0.000_01 }],
    ['by files', { perBatch: 0, perFile: 0.02, perByte: 0 }],
    ['by both, and something of its own', { perBatch: 0.2, perFile: 0.005, perByte: 0.000_002 }],
    ['whatever is in it', { perBatch: 3, perFile: 0, perByte: 0 }],
  ];

  it.each(truths)('is found from results that go %s', (_how, truth) => {
    const { rates } = learnAll(samplesOf(60, truth));
    expect(rates?.perBatch).toBeCloseTo(truth.perBatch, 2);
    expect(rates?.perFile).toBeCloseTo(truth.perFile, 3);
    expect(rates?.perByte).toBeCloseTo(truth.perByte, 7);
  });

  it.each(truths)('is found through noise of a half either way, where it goes %s', (_how, truth) => {
    const random = chance(7);
    const learned = learnAll(samplesOf(400, truth, () => 0.5 + random()));
    expect(errorOf(learned, truth)).toBeLessThan(0.15);
    const { perBatch = -1, perFile = -1, perByte = -1 } = learned.rates ?? {};
    expect(Math.min(perBatch, perFile, perByte)).toBeGreaterThanOrEqual(0);
  });

  it('is not moved by one in twenty that takes thirty times as long, nor by a slow first one', () => {
    const [, truth] = truths[2] as [string, Truth];
    let index = 0;
    const samples = samplesOf(400, truth, () => ((index += 1) % 20 === 1 ? 30 : 1));
    expect(errorOf(learnAll(samples), truth)).toBeLessThan(0.15);
  });

  it('is guessed from a single result in proportion, and bytes alone count before there is one', () => {
    const one = learn(nothingLearned, { files: 1, bytes: 1_000, seconds: 2 });
    expect(lengthOf(one, 1, 1, 1_000)).toBeCloseTo(2, 6);
    expect(lengthOf(one, 1, 2, 2_000)).toBeCloseTo(4, 6);
    expect(lengthOf(nothingLearned, 3, 2, 500)).toBe(502);
    // Files without bytes are counted.
    const empty = learn(nothingLearned, { files: 2, bytes: 0, seconds: 2 });
    expect(lengthOf(empty, 1, 4, 0)).toBeCloseTo(4, 6);
  });

  it('is remembered as a few results, which another truth soon outweighs', () => {
    const [, before] = truths[0] as [string, Truth];
    const learned = learnAll(samplesOf(5_000, before));
    const start = remembered(learned);
    expect([start.results, start.filesMax]).toEqual([limits.ratesRememberedResults, learned.filesMax]);
    expect(errorOf(start, before)).toBeLessThan(0.001);
    const slower = { ...before, perByte: 10 * before.perByte };
    expect(errorOf(learnAll(samplesOf(100, slower), start), slower)).toBeLessThan(0.1);
    expect(remembered(start)).toBe(start);
  });

  it('costs the same after many results', () => {
    const [, truth] = truths[2] as [string, Truth];
    const [few, many] = [learnAll(samplesOf(10, truth)), learnAll(samplesOf(20_000, truth))];
    expect(many.sums.length).toBe(few.sums.length);
    expect(JSON.parse(JSON.stringify(many))).toEqual(many);
  });
});

describe('what was learned of a deployment', () => {
  const h = new Harness().submit();
  const base: Deployment = { ...h.job.deployment, scorer: { kind: 'python', script: 'score.py' } };
  const code = (hex: string) => ({ kind: 'folder', name: 'code', digest: digest(`sha256:${hex}`), bytes: 1 }) as const;

  it('goes for the same scorer, model, code, environment and variables, whatever it is called', () => {
    const key = deploymentKey(base);
    expect(key).toMatch(/^[0-9a-f]{16}$/);
    const settings = { ...base.settings, miniBatchSize: { kind: 'auto' } as const, timeoutMs: 1 };
    expect(deploymentKey({ ...base, name: 'other', settings })).toBe(key);
    const others: readonly Deployment[] = [
      { ...base, scorer: { kind: 'onnx', settings: defaultOnnxSettings } },
      { ...base, code: code('a') },
      { ...base, code: code('b') },
      { ...base, model: code('a') },
      { ...base, environment: { kind: 'host', python: '/usr/bin/python3' } },
      { ...base, environment: { kind: 'image', image: 'a', conda: null } },
      { ...base, settings: { ...base.settings, environmentVariables: { MODE: 'slow' } } },
    ];
    expect(new Set([key, ...others.map(deploymentKey)]).size).toBe(others.length + 1);
  });
});
