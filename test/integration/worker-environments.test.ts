/** Jobs whose scripts need more than the node has: a built environment, a device, and what people see meanwhile. */
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { commandEnvironment } from '../../common/config/process-settings.ts';
import type { EnvironmentSpec } from '../../common/core/deployment.ts';
import { digest } from '../../common/core/ids.ts';
import type { JobEvent, JobView } from '../../coordinator/api/backend.ts';
import type { Coordinator } from '../../coordinator/coordinator.ts';
import { writeInputs } from '../helpers/job-folder.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { matching } from '../helpers/matching.ts';
import { testPython } from '../helpers/python.ts';

let cluster: LocalCluster;
let dir: string;
let coordinator: Coordinator;

beforeEach(async () => {
  cluster = await LocalCluster.start();
  ({ dir, coordinator } = cluster);
});
afterEach(() => cluster.close());

async function joinNode(slots: number): Promise<void> {
  const own = commandEnvironment();
  const environment = { ...own, PATH: `${join(dir, 'bin')}:/usr/bin:/bin`, PYTHONPATH: join(dir, 'elsewhere') };
  await cluster.join('node-1', slots, { python: testPython(), environment });
}

/** Scores `files` with `script`; the job's end and its lines. */
async function score(
  script: string,
  files: number,
  environment: EnvironmentSpec,
): Promise<{ readonly view: JobView; readonly events: readonly JobEvent[]; readonly rows: readonly string[] }> {
  const code = join(dir, 'code');
  mkdirSync(code, { recursive: true });
  writeFileSync(join(code, 'score.py'), script);
  const yaml = `name: prepared\ncode_configuration: {code: ${code}, scoring_script: score.py}\nmini_batch_size: 1\n`;
  writeFileSync(join(dir, 'deployment.yml'), yaml);
  const names = Array.from({ length: files }, (_, index) => [`${index}.txt`, 'x'] as const);
  const deployment = { ...(await loadDeployment(join(dir, 'deployment.yml'))), environment };
  const request = { deployment, inputPath: writeInputs(join(dir, 'in'), names), outputDir: join(dir, 'out') };
  const { name } = await coordinator.jobs.submit({ ...request, isOverwrite: true, name: null });
  const events: JobEvent[] = [];
  for await (const event of coordinator.jobs.events(name, 0, new AbortController().signal)) events.push(event);
  const view = coordinator.jobs.show(name);
  const rows =
    view.status === 'Completed'
      ? readFileSync(view.output_file ?? '', 'utf8')
          .trim()
          .split('\n')
      : [];
  return { view, events, rows };
}

function conda(dependencies: readonly unknown[]): EnvironmentSpec {
  const yaml = JSON.stringify({ dependencies });
  const hex = createHash('sha256').update(yaml).digest('hex');
  return { kind: 'conda', conda: { name: 'heart-env', yaml, digest: digest(`sha256:${hex}`) } };
}

const imports = `
import os, sys, six
def init(): pass
def run(mini_batch):
    return [six.__version__ + " " + str("elsewhere" in " ".join(sys.path)) + " " + os.environ["VIRTUAL_ENV"] for _ in mini_batch]
`;

describe('a job with a conda file', { timeout: 240_000 }, () => {
  it('runs in the environment that it asks for, which people see being built, and which stays', async () => {
    await joinNode(2);
    const wanted = conda(['python', 'pip', { pip: ['azureml-core', 'six==1.16.0'] }]);
    const { view, events, rows } = await score(imports, 4, wanted);
    expect(view).toMatchObject({ status: 'Completed', waiting: null, rows: 4 });
    const root = join(dir, 'scratch', 'environments');
    const [key = ''] = readdirSync(root).filter((name) => /^[0-9a-f]{16}$/.test(name));
    for (const row of rows) expect(row).toMatch(new RegExp(`^1\\.16\\.0 False ${join(root, key)}/`));
    const said = events.filter(({ kind }) => kind === 'waiting').map(({ message }) => message);
    expect(said).toContain('node-1: environment heart-env: installing (pip)');
    expect(said.at(-1)).toBe('node-1: environment heart-env: installing (pip), ended');
    expect(events.some(({ job }) => /^node-1: environment heart-env: .* \d+ s/.test(job.waiting ?? ''))).toBe(true);
    const again = await score(imports, 4, wanted);
    expect(again.view.status).toBe('Completed');
    expect(again.events.filter(({ message }) => message.includes('heart-env'))).toEqual([]);
    expect(again.rows).toEqual(rows);
  });

  it('that cannot be built is told so in the installer’s words', async () => {
    await joinNode(1);
    const { view, events } = await score(imports, 1, conda(['python', { pip: ['six==1.16.0', 'six==1.15.0'] }]));
    expect(view.status).toBe('Failed');
    const lines = events.map(({ message }) => message);
    expect(lines).toContainEqual(matching(/ENVIRONMENT_BUILD_FAILED: environment heart-env cannot be built \(pip\)/));
  });
});

describe('devices', () => {
  it('are one for each host, and none for those that come too late', async () => {
    const listing = 'GPU 0: NVIDIA A10 (UUID: GPU-a)\nGPU 1: NVIDIA A10 (UUID: GPU-b)\n';
    mkdirSync(join(dir, 'bin'), { recursive: true });
    writeFileSync(join(dir, 'bin', 'nvidia-smi'), `#!/bin/sh\nprintf '${listing.replaceAll('\n', '\\n')}'\n`);
    chmodSync(join(dir, 'bin', 'nvidia-smi'), 0o755);
    const meet = join(dir, 'meet');
    mkdirSync(meet);
    // All three hosts are alive at once: each waits for the others.
    const script = `
import os, time
def init(): open(os.path.join(${JSON.stringify(meet)}, str(os.getpid())), "w").close()
def run(mini_batch):
    while len(os.listdir(${JSON.stringify(meet)})) < 3: time.sleep(0.01)
    names = ("CUDA_VISIBLE_DEVICES", "AZ_BATCHAI_GPU_COUNT_FOUND", "CUDA_DEVICE_ORDER")
    return [str(os.getpid()) + " " + " ".join(os.environ.get(n, "none") for n in names) + " " + os.environ["OMP_NUM_THREADS"]]
`;
    await joinNode(3);
    const { view, rows } = await score(script, 12, { kind: 'host', python: null });
    expect(view.status).toBe('Completed');
    const hosts = new Set(rows);
    const seen = [...hosts].map((row) => row.split(' ').slice(1, 4).join(' ')).sort();
    // Counted as nvidia-smi counts.
    expect(seen).toEqual(['0 2 PCI_BUS_ID', '1 2 PCI_BUS_ID', 'none 2 none']);
    for (const row of hosts) expect(Number(row.split(' ')[4])).toBeGreaterThanOrEqual(1);
  });
});
