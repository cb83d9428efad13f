import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { jobName, nodeName } from '../../common/core/ids.ts';
import { systemClock } from '../../common/io/clock.ts';
import { createLog } from '../../common/io/log.ts';
import { removeForeign } from '../../common/io/remove-foreign.ts';
import { NodeFiles } from '../../worker/node-files.ts';

/** Of nobody in particular; what is closed is open to root all the same. */
const otherUser = 65_534;
const isRoot = process.getuid?.() === 0;
const job = jobName('j');

let dir: string;
let lines: string[];
let files: NodeFiles;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-files-'));
  lines = [];
  const write = (line: string): void => void lines.push(line);
  files = new NodeFiles(dir, nodeName('n'), createLog({ write, format: 'text', level: 'warn', clock: systemClock }));
  if (!isRoot) return;
  chownSync(dir, otherUser, otherUser);
  process.seteuid?.(otherUser);
});
afterEach(() => {
  if (isRoot) process.seteuid?.(0);
  rmSync(dir, { recursive: true, force: true });
});

it('removes what a script has closed', async () => {
  const custom = await files.makeCustomDir(job, 0);
  mkdirSync(join(custom, 'a/b'), { recursive: true });
  writeFileSync(join(custom, 'a/b/file'), 'x');
  chmodSync(join(custom, 'a/b'), 0o000);
  chmodSync(join(custom, 'a'), 0o555);
  expect(readdirSync(await files.makeCustomDir(job, 0))).toEqual([]);
  chmodSync(custom, 0o555);
  const home = await files.makeHostHome(0);
  mkdirSync(join(home.workDir, 'closed'));
  writeFileSync(join(home.workDir, 'closed/file'), 'x');
  chmodSync(join(home.workDir, 'closed'), 0o555);
  await files.prepareHostHome(home, job);
  expect(readdirSync(home.workDir)).toEqual([]);
  await files.removeJob(job);
  await files.sweep();
  expect([readdirSync(join(dir, 'nodes/n')), lines]).toEqual([['jobs'], []]);
});

it('removes what is still written to', async () => {
  const custom = await files.makeCustomDir(job, 0);
  let written = 0;
  const write = (): void => {
    if (!existsSync(custom) || written === 300) return;
    writeFileSync(join(custom, `${(written += 1)}`), '');
    setImmediate(write);
  };
  write();
  await removeForeign(custom);
  expect([existsSync(custom), written > 1]).toEqual([false, true]);
});

it.runIf(isRoot)('moves aside what it may not remove, tells where it is, and fails no job for it', async () => {
  const custom = await files.makeCustomDir(job, 0);
  process.seteuid?.(0);
  mkdirSync(join(custom, 'of-another'));
  writeFileSync(join(custom, 'of-another/file'), 'x');
  process.seteuid?.(otherUser);
  expect(readdirSync(await files.makeCustomDir(job, 0))).toEqual([]);
  const aside = readdirSync(join(dir, 'nodes/n/jobs/j/custom')).find((name) => name !== 'slot-1');
  expect(lines).toEqual([expect.stringContaining(`cannot be removed`)]);
  expect(lines[0]).toContain(`custom/${aside}`);
  await files.removeJob(job);
  await files.sweep();
  expect(lines).toHaveLength(4);
});
