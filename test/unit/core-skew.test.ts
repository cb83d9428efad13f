/** Real files of uneven size on eight slots, on the real core in virtual time: exact, so that it is no test of this machine. */
import { describe, expect, it } from 'vitest';
import type { Harness } from '../helpers/ledger-harness.ts';
import { emailSizes } from '../helpers/e-mails.ts';
import { mailPlans, mails, played } from '../helpers/virtual-mails.ts';
import type { VirtualJob } from '../helpers/virtual-slots.ts';

const sizesBytes = emailSizes();

function over(plan: VirtualJob, given?: Harness): number {
  const { run, over: share } = played(plan, given);
  expect([run.job.state, run.job.scoredFiles]).toEqual(['Finalizing', plan.sizesBytes.length]);
  return share;
}

describe('6,046 e-mails on eight slots', () => {
  it('are those that they are told to be', () => {
    const sorted = sizesBytes.toSorted((a, b) => a - b);
    expect([sizesBytes.length, sorted[3_023], sorted.at(-1)]).toEqual([6_046, 3_512, 300_734]);
  });

  it.each(mailPlans)('with mini_batch_size %s take hardly longer than their work', (_text, size, most) => {
    expect(over(mails(size))).toBeLessThan(most);
  });

  it.each([
    ['on eight nodes', { nodes: [1, 1, 1, 1, 1, 1, 1, 1] }],
    ['on two slots', { nodes: [2] }],
    ['on sixty-four slots, where the largest is most of it', { nodes: [16, 16, 16, 16] }],
    ['with the largest at the end', { sizesBytes: sizesBytes.toSorted((a, b) => a - b) }],
    ['with the largest first', { sizesBytes: sizesBytes.toSorted((a, b) => b - a) }],
  ] as const)('%s, automatically, stay within a twentieth', (_how, given) => {
    const listed: readonly number[] = 'sizesBytes' in given ? given.sizesBytes : sizesBytes;
    const seconds: VirtualJob['seconds'] = (files) =>
      files.reduce((sum, file) => sum + 0.000_5 + 0.000_005 * (listed[file] as number), 0);
    expect(over(mails({ kind: 'auto' }, { ...given, seconds }))).toBeLessThan(0.05);
  });

  it('that take a third more or less than their bytes say stay within a twentieth too', () => {
    const noise = (file: number): number => 2 / 3 + ((Math.imul(file, 0x9e37_79b1) >>> 0) / 2 ** 32) * (2 / 3);
    const seconds: VirtualJob['seconds'] = (files) =>
      files.reduce((sum, file) => sum + noise(file) * (0.000_5 + 0.000_005 * (sizesBytes[file] as number)), 0);
    expect(over(mails({ kind: 'auto' }, { seconds }))).toBeLessThan(0.05);
  });

  it('of which each takes the same, whatever its bytes, stay within a twentieth too', () => {
    const seconds: VirtualJob['seconds'] = (files) => files.length * 0.02;
    expect(over(mails({ kind: 'auto' }, { seconds }))).toBeLessThan(0.05);
  });
});
