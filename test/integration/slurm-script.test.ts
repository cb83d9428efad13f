/** The batch script for Slurm, without Slurm: its commands are stand-ins that start as many tasks as the real ones would. */
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { packageFile } from '../../common/io/package-files.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { until } from '../helpers/programs.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

const folder = new TempFolder();
const dir = folder.path;
afterEach(() => folder.remove());

/** As many tasks as --ntasks says, else as the allocation has: what the options leave out, the environment says. @source srun(1) */
const srun = `#!/bin/bash
tasks="$SLURM_NTASKS"
is_overlap=
while [[ "$1" == -* ]]; do
  case "$1" in
    --ntasks=*) tasks="\${1#*=}" ;;
    --overlap) is_overlap=1 ;;
  esac
  shift
done
for ((task = 0; task < tasks; task++)); do SLURMD_NODENAME=n1 SLURM_PROCID=$task "$@" & done
wait
[[ -z "$is_overlap" ]] || touch "$TEST_DIR/told-all"
`;

/** A worker node that is told to leave, and does so when the test lets it. */
const node = `#!/bin/bash
trap : TERM
touch "$TEST_DIR/joined-$SLURM_PROCID"
until [[ -e "$TEST_DIR/leave" ]]; do sleep 0.02; done
`;

const kill = `#!/bin/bash
echo "$@" >>"$TEST_DIR/kills"
exec /bin/kill "$@"
`;

test('several worker nodes of one machine are told once each to leave, however many tasks the allocation has', async () => {
  const programs = { srun, node, kill };
  writeInputs(
    join(dir, 'bin'),
    Object.entries(programs).map(([name, text]) => [name, text] as const),
  );
  for (const name of Object.keys(programs)) chmodSync(join(dir, 'bin', name), 0o755);
  writeInputs(join(dir, 'dist', 'cli'), [['main.js', '']]);
  writeFileSync(join(dir, 'token'), 'secret', { mode: 0o600 });
  const script = spawn('bash', [packageFile('deploy', 'slurm', 'batchmill-workers.sbatch')], {
    cwd: dir,
    stdio: 'ignore',
    env: {
      ...{ PATH: `${join(dir, 'bin')}:${process.env['PATH']}`, HOME: dir, TEST_DIR: dir },
      ...{ SLURM_JOB_ID: '7', SLURM_JOB_NUM_NODES: '1', SLURM_NTASKS: '2', SLURM_CPUS_PER_TASK: '1' },
      ...{ BATCHMILL_HOME: dir, BATCHMILL_COORDINATOR: 'alpha:7077', BATCHMILL_CA_FINGERPRINT: 'sha256:0' },
      ...{ BATCHMILL_TOKEN_FILE: join(dir, 'token'), BATCHMILL_SCRATCH_DIR: dir, BATCHMILL_UNTIL: '50m' },
    },
  });
  const ended = new Promise((resolve) => script.once('close', resolve));
  try {
    await until(() => [0, 1].every((task) => existsSync(join(dir, `joined-${task}`))), 'two worker nodes');
    script.kill('SIGTERM');
    await until(() => existsSync(join(dir, 'told-all')), 'the step that tells them');
  } finally {
    writeFileSync(join(dir, 'leave'), '');
  }
  expect(await ended).toBe(0);
  expect(readFileSync(join(dir, 'kills'), 'utf8')).toMatch(/^-TERM \d+ \d+\n$/);
});
