/** What a mini-batch of nothing costs between coordinator, worker node and scoring host, counted. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import { isFinal } from '../../common/core/states.ts';
import { Reactor } from '../../coordinator/core/reactor.ts';
import { InputCatalog } from '../../coordinator/input/input-catalog.ts';
import { GroupQueue } from '../../coordinator/journal/group-queue.ts';
import { ControlLink } from '../../worker/control-link.ts';
import { CustomFolder } from '../../worker/pool/custom-folder.ts';
import { LocalLooks } from '../../worker/staging/local-looks.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';

const files = 400;

afterEach(() => void vi.restoreAllMocks());

interface Wanted {
  readonly deployment: LocalDeployment;
  readonly inputPath: string;
  readonly outputDir: string;
}

/** Runs it to its end. */
async function completed({ coordinator: { jobs } }: LocalCluster, wanted: Wanted): Promise<void> {
  const { name } = await jobs.submit({ ...wanted, isOverwrite: false, name: null });
  for await (const { job } of jobs.events(name, 0, new AbortController().signal)) if (isFinal(job.status)) break;
  expect(jobs.show(name)).toMatchObject({ status: 'Completed', files: { scored: files } });
}

test('a mini-batch is one record, at most one journal write and one message, and no look at a folder', async () => {
  const cluster = await LocalCluster.start();
  try {
    const code = join(cluster.dir, 'code');
    const input = join(cluster.dir, 'in');
    for (const dir of [code, input]) mkdirSync(dir);
    writeFileSync(join(code, 'nothing.mjs'), 'export const run = (paths, { names }) => names;\n');
    const deployment = join(cluster.dir, 'nothing.yml');
    writeFileSync(
      deployment,
      `name: nothing\ncode_configuration:\n  code: ${code}\n  scoring_script: nothing.mjs\nmini_batch_size: 1\n`,
    );
    for (let file = 0; file < files; file += 1) writeFileSync(join(input, `file-${file}.txt`), '');
    await cluster.join('node-a', 2);

    const records = vi.spyOn(GroupQueue.prototype, 'add');
    const groups = vi.spyOn(GroupQueue.prototype, 'release');
    const reports = vi.spyOn(ControlLink.prototype, 'send');
    const walks = vi.spyOn(CustomFolder.prototype, 'collect');
    const looks = vi.spyOn(LocalLooks.prototype, 'identitiesOf');
    const lists = vi.spyOn(InputCatalog.prototype, 'files');
    const [commands, steps] = [vi.spyOn(Reactor.prototype, 'take'), vi.spyOn(Reactor.prototype, 'goOn')];

    const request = {
      deployment: await loadDeployment(deployment),
      inputPath: input,
      outputDir: join(cluster.dir, 'out'),
    };
    await completed(cluster, request);

    // One record of each, and some of the job.
    expect(records.mock.calls.length).toBeLessThan(files * 1.5 + 30);
    const bytes = records.mock.calls.reduce((sum, [record]) => sum + JSON.stringify(record).length, 0);
    expect(bytes / files).toBeLessThan(450);
    // How many go together is a matter of speed; never does one go twice.
    expect(groups.mock.calls.length).toBeLessThan(files * 1.2 + 30);
    expect(reports.mock.calls.length).toBeLessThan(files * 1.2 + 30);
    // What was just listed is at hand when it is granted.
    expect(lists.mock.calls.length).toBe(0);
    // Its result and that it is written; what comes with others goes on once with them.
    expect(commands.mock.calls.length).toBeLessThan(files * 3.5 + 100);
    expect(steps.mock.calls.length).toBeLessThan(commands.mock.calls.length);
    // The host has looked itself.
    expect(walks.mock.calls.length).toBe(0);
    expect(looks.mock.calls.length).toBe(files);

    // Many files of one mini-batch are one question.
    looks.mockClear();
    const large = await loadDeployment(deployment, { cwd: cluster.dir, miniBatchSize: '100' });
    await completed(cluster, { ...request, deployment: large, outputDir: join(cluster.dir, 'out-large') });
    expect(looks.mock.calls.map(([paths]) => paths.length)).toEqual(Array.from({ length: files / 100 }, () => 100));
  } finally {
    await cluster.close();
  }
});
