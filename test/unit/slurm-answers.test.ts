/** What squeue says, as the allocator takes it. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { Slurm } from '../../cli/allocator/slurm.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const folder = new TempFolder();
afterAll(() => folder.remove());

it('knows its own jobs, and one whose machine starts up waits', async () => {
  const mark = 'batchmill:abc:gpu';
  const lines = [
    `1|RUNNING|None|${mark}`,
    `2|CONFIGURING|None|${mark}`,
    `3|PENDING|Resources|${mark}`,
    `4|COMPLETING|None|${mark}`,
    `5|NODE_FAIL|NodeDown|${mark}`,
    '6|RUNNING|None|somebody:else',
    '7|RUNNING|None|',
  ];
  const squeue = join(folder.path, 'squeue');
  writeFileSync(squeue, `#!/bin/sh\nprintf '%s\\n' ${lines.map((line) => `'${line}'`).join(' ')}\n`);
  chmodSync(squeue, 0o755);
  const slurm = new Slurm({
    ...{ environment: { PATH: folder.path }, mark, jobName: 'batchmill-gpu', options: [], script: '/script' },
    ...{ cwd: folder.path, output: 'slurm-%j.log' },
  });
  expect((await slurm.jobs()).map(({ id, state }) => `${id} ${state}`)).toEqual([
    ...['1 running', '2 pending', '3 pending', '4 ending', '5 ended'],
  ]);
});
