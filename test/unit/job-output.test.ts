/** The folder of a job that is being submitted, and the logs of the one before. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BatchError } from '../../common/core/batch-error.ts';
import { jobName } from '../../common/core/ids.ts';
import { JobOutput } from '../../coordinator/job-output.ts';
import { thisMachine } from '../../coordinator/outside.ts';
import { failing } from '../helpers/failing.ts';
import { settings } from '../helpers/ledger-harness.ts';

describe('an output folder that is taken', () => {
  let dir: string;
  let said: string[];
  const rows = (): string => join(dir, 'out', 'predictions.csv');
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'batchmill-output-'));
    said = [];
    mkdirSync(join(dir, 'out'));
    writeFileSync(rows(), 'a 1\n');
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const open = (isOverwrite: boolean): JobOutput =>
    new JobOutput({
      ...{ outside: thisMachine(), stateDir: join(dir, 'state'), job: jobName('b'), place: join(dir, 'out') },
      ...{ settings: { ...settings, outputFileName: 'predictions.csv' }, isOverwrite },
      signal: new AbortController().signal,
      closeLogs: (of) => {
        said.push(`closed with ${existsSync(rows()) ? 'rows' : 'nothing'} in ${of === join(dir, 'out') ? 'it' : of}`);
        return Promise.resolve(() => void said.push('open'));
      },
    });
  const guard = (): Promise<void> => Promise.resolve(void said.push('guarded'));

  it('has no logs of the job before it from its clearing until the new job is written down', async () => {
    const output = open(true);
    await output.look();
    expect(said).toEqual([]);
    await output.take(guard);
    expect(existsSync(rows())).toBe(false);
    expect(said).toEqual(['guarded', 'closed with rows in it']);
    output.openLogs();
    expect(said.at(-1)).toBe('open');
  });

  it('has them again where it cannot be cleared, and keeps them where it is refused', async () => {
    await expect(open(false).take(guard)).rejects.toThrow(failing('OUTPUT_EXISTS', 'predictions.csv'));
    expect(said).toEqual([]);
    const taken = () => Promise.reject(new BatchError('OUTPUT_EXISTS', 'a job is writing to it'));
    await expect(open(true).take(taken)).rejects.toThrow(failing('OUTPUT_EXISTS', 'is writing'));
    expect(said).toEqual([]);
    rmSync(rows());
    mkdirSync(rows());
    await expect(open(true).take(guard)).rejects.toThrow(failing('STATE_UNWRITABLE', 'cannot be used'));
    expect(said).toEqual(['guarded', 'closed with rows in it', 'open']);
  });
});
