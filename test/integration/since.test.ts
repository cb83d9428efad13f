/** Jobs that take rows from an earlier output, on a real coordinator with a real worker node and hosts. */
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { tableFromIPC } from 'apache-arrow';
import { parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadDeployment } from '../../common/config/deployment-file.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import type { InputSelection } from '../../common/core/input-selection.ts';
import type { JobView } from '../../coordinator/api/backend.ts';
import { verifyOutput } from '../../coordinator/verify/verify-output.ts';
import { failing } from '../helpers/failing.ts';
import { LocalCluster } from '../helpers/local-cluster.ts';
import { runProgram } from '../helpers/programs.ts';
import { readOutput } from '../helpers/sealed-output.ts';

/** Rows whose texts have what separates rows; `ROWS` of them for each file. Sets down which files it has seen. */
const script = `
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
const textOf = (file) => {
  const text = readFileSync(file, 'utf8');
  return process.env.PLAIN ? text.replaceAll('\\n', ' ') : text;
};
export function run(files) {
  appendFileSync(process.env.SEEN, files.map((file) => basename(file) + '\\n').join(''));
  if (process.env.OWN) writeFileSync(join(process.env.AZUREML_BI_OUTPUT_PATH, basename(files[0])), 'own');
  const count = Number(process.env.ROWS ?? 1);
  return files.flatMap((file) =>
    Array.from({ length: count }, (_, n) => ({ file: basename(file), n, text: textOf(file) })),
  );
}
`;

const files = 60;
const nameOf = (index: number): string => `f${String(index).padStart(3, '0')}.txt`;

let cluster: LocalCluster;
let input = '';
let seen = '';
beforeEach(async () => {
  cluster = await LocalCluster.start();
  input = join(cluster.dir, 'in');
  seen = join(cluster.dir, 'seen');
  mkdirSync(input);
  mkdirSync(join(cluster.dir, 'code'));
  writeFileSync(join(cluster.dir, 'code', 'rows.mjs'), script);
  for (let index = 0; index < files; index += 1) {
    writeFileSync(join(input, nameOf(index)), `"${index}",\nä\n`);
    // Long ago, as files are that nobody touches.
    utimesSync(join(input, nameOf(index)), 1_000_000, 1_000_000);
  }
});
afterEach(() => cluster.close());

interface Asked {
  readonly since?: string | null;
  readonly output?: readonly string[];
  readonly input?: readonly string[];
  readonly variables?: Readonly<Record<string, string>>;
  readonly more?: readonly string[];
  readonly selection?: InputSelection;
  readonly inputPath?: string;
}

async function deploymentOf(asked: Asked): Promise<LocalDeployment> {
  const variables = Object.entries({ SEEN: seen, ...asked.variables });
  const lines = [
    'name: texts',
    'code_configuration: { code: ./code, scoring_script: rows.mjs }',
    'settings:',
    '  mini_batch_size: 7',
    '  environment_variables:',
    ...variables.map(([name, value]) => `    ${name}: ${JSON.stringify(value)}`),
    `  output: { ${(asked.output ?? ['format: csv']).join(', ')} }`,
    `  input: { ${(asked.input ?? []).join(', ')} }`,
    ...(asked.more ?? []).map((line) => `  ${line}`),
  ];
  const path = join(cluster.dir, 'deployment.yml');
  writeFileSync(path, `${lines.join('\n')}\n`);
  return await loadDeployment(path);
}

async function submit(name: string, asked: Asked = {}): Promise<void> {
  const { since = null, selection, inputPath = input } = asked;
  const request = { deployment: await deploymentOf(asked), inputPath, outputDir: dirOf(name), name };
  const which = selection ? { selection } : {};
  await cluster.coordinator.jobs.submit({ ...request, ...which, isOverwrite: false, since });
}

async function ended(name: string): Promise<JobView> {
  const { jobs } = cluster.coordinator;
  for await (const _ of jobs.events(name, 0, new AbortController().signal));
  return jobs.show(name);
}

/** To its end; files that were scored, in order. */
async function run(name: string, asked: Asked = {}): Promise<{ readonly view: JobView; readonly scored: string[] }> {
  rmSync(seen, { force: true });
  await submit(name, asked);
  const view = await ended(name);
  const text = existsSync(seen) ? readFileSync(seen, 'utf8') : '';
  return {
    view,
    scored: text
      .split('\n')
      .filter((line) => line !== '')
      .sort(),
  };
}

const dirOf = (name: string): string => join(cluster.dir, name);
const soundness = async (name: string): Promise<unknown> =>
  (await verifyOutput({ dir: dirOf(name), inputPath: null, key: null })).findings;

/** One of another content, a new one within and one at the end, and one that is gone. */
function change(): readonly string[] {
  writeFileSync(join(input, nameOf(10)), 'other');
  writeFileSync(join(input, 'f0305.txt'), 'new, between');
  writeFileSync(join(input, 'z.txt'), 'new, last');
  rmSync(join(input, nameOf(40)));
  return [nameOf(10), 'f0305.txt', 'z.txt'];
}

/** The rows as whoever reads the format sees them. */
async function rowsOf(name: string): Promise<readonly unknown[]> {
  const names = readdirSync(dirOf(name))
    .filter((one) => !one.startsWith('_'))
    .sort();
  const rows: unknown[] = [];
  for (const one of names) {
    const bytes = readFileSync(join(dirOf(name), one));
    if (one.endsWith('.parquet')) {
      const file = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
      rows.push(...(await parquetReadObjects({ file, compressors })));
    } else if (one.includes('.arrow')) {
      rows.push(
        ...tableFromIPC(bytes)
          .toArray()
          .map((row: { toJSON(): unknown }) => row.toJSON()),
      );
    } else rows.push(bytes.toString());
  }
  return rows;
}

describe('rows of files that are the same', () => {
  it.each([
    ['csv', ['format: csv']],
    ['csv without a header', ['format: csv', 'header: false']],
    ['jsonl', ['format: jsonl']],
    ['azure', ['format: azure']],
    ['arrow', ['format: arrow']],
    ['arrow_file', ['format: arrow_file']],
    ['parquet in files', ['format: parquet', 'file_rows: 20']],
  ])('stand in a %s as if they had been scored', async (_, output) => {
    await cluster.join('a', 2);
    // A line of it is a row only where no text has lines.
    const variables = output[0] === 'format: azure' ? { PLAIN: '1' } : {};
    const kept = { output, variables, input: ['incremental: true'] };
    const first = await run('first', kept);
    expect([first.view.status, first.scored.length, first.view.since]).toEqual(['Completed', files, null]);
    const changed = change();
    const second = await run('second', { ...kept, since: 'first' });
    expect([second.view.error, second.view.status]).toEqual([null, 'Completed']);
    expect(second.scored).toEqual(changed);
    expect(second.view.files).toMatchObject({ total: files + 1, scored: files + 1, taken: files - 2, failed: 0 });
    expect(second.view.since).toEqual({ job: 'first', output_path: dirOf('first'), reason: null });
    expect(await soundness('second')).toEqual([]);
    const whole = await run('whole', { output, variables });
    expect(whole.scored).toHaveLength(files + 1);
    expect(await rowsOf('second')).toEqual(await rowsOf('whole'));
    // And once more from there, where most is taken already.
    if (output.length > 1) return;
    writeFileSync(join(input, nameOf(0)), 'first');
    const third = await run('third', { ...kept, since: 'second' });
    expect(third.scored).toEqual([nameOf(0)]);
    expect(await soundness('third')).toEqual([]);
  });

  it('are named in the manifest, and what they are taken from', async () => {
    await cluster.join('a', 2);
    await run('first');
    const changed = change();
    await run('second', { since: dirOf('first') });
    const { manifest, files: lines } = readOutput(dirOf('second'), 'predictions.csv');
    expect(manifest).toMatchObject({
      format: 3,
      since: { job: 'first', output_path: dirOf('first'), reason: null },
      totals: { files: files + 1, scored: files + 1, taken: files - 2 },
    });
    expect(lines.filter(({ taken }) => taken !== true).map(({ path }) => path)).toEqual(changed);
    for (const { taken, status, attempt, attempts, node, rows } of lines) {
      expect([status, rows, attempt === null, node === null, attempts]).toEqual([
        ...['scored', 1, taken === true, taken === true],
        taken === true ? 0 : 1,
      ]);
    }
  });

  it('need no worker node when nothing has changed', async () => {
    const node = await cluster.join('a', 2);
    await run('first');
    await node.close();
    const { view, scored } = await run('second', { since: 'first' });
    expect([view.status, view.files.taken, scored]).toEqual(['Completed', files, []]);
    expect(readOutput(dirOf('second')).text).toBe(readOutput(dirOf('first')).text);
  });

  it('of which a mini-batch tells the rows of all files only are taken as a whole', async () => {
    await cluster.join('a', 2);
    const two = { variables: { ROWS: '2' } };
    await run('first', two);
    writeFileSync(join(input, nameOf(10)), 'other');
    const { view, scored } = await run('second', { ...two, since: 'first' });
    // Files 7 to 13 were one mini-batch.
    expect([view.rows, scored]).toEqual([2 * files, [7, 8, 9, 10, 11, 12, 13].map(nameOf)]);
    await run('whole', two);
    expect(readOutput(dirOf('second')).text).toBe(readOutput(dirOf('whole')).text);
    expect(await soundness('second')).toEqual([]);
  });

  it('of files that had failed are not there, and they are scored', async () => {
    await cluster.join('a', 2);
    rmSync(join(input, nameOf(3)));
    mkdirSync(join(input, 'gone'));
    const list = join(cluster.dir, 'list.txt');
    writeFileSync(list, Array.from({ length: files }, (_, index) => `${nameOf(index)}\n`).join(''));
    const selection = {
      recursive: true,
      include: [],
      exclude: [],
      list: { path: list, column: 'path', identity: null },
    };
    const first = await run('first', { selection });
    expect(first.view.files).toMatchObject({ failed: 1, scored: files - 1 });
    writeFileSync(join(input, nameOf(3)), 'there');
    // In another order, and from a list as well.
    const order = Array.from({ length: files }, (_, index) => nameOf((index + 30) % files));
    writeFileSync(list, `${order.join('\n')}\n`);
    const second = await run('second', { selection, since: 'first' });
    expect([second.view.status, second.scored]).toEqual(['Completed', [nameOf(3)]]);
    expect(readOutput(dirOf('second')).files.map(({ path }) => path)).toEqual(order);
    expect(readOutput(dirOf('second')).text.match(/f\d{3}\.txt/g)).toEqual(order);
  });

  it('that have lines within, in a format that has no quotes, are scored again beside those that have changed', async () => {
    await cluster.join('a', 2);
    const azure = { output: ['format: azure'] };
    await run('first', azure);
    expect((await run('same', { ...azure, since: 'first' })).scored).toEqual([]);
    change();
    expect((await run('second', { ...azure, since: 'first' })).scored).toHaveLength(files + 1);
    await run('whole', azure);
    expect(await rowsOf('second')).toEqual(await rowsOf('whole'));
  });

  it('that the disk has changed are scored again', async () => {
    await cluster.join('a', 2);
    await run('first');
    const path = join(dirOf('first'), 'predictions.csv');
    writeFileSync(path, readFileSync(path, 'utf8').replace('f020.txt', 'f02O.txt'));
    const { view, scored } = await run('second', { since: 'first' });
    expect([view.status, scored.length]).toEqual(['Completed', files]);
    expect(readOutput(dirOf('second')).text).not.toContain('f02O');
  });
});

describe('another deployment', () => {
  it.each([
    ['code', 'the code is another one'],
    ['variables', 'environment, environment variables or the form of the output are other ones'],
    ['form', 'environment, environment variables or the form of the output are other ones'],
  ])('(%s) takes nothing, and says so', async (what, reason) => {
    await cluster.join('a', 2);
    await run('first');
    if (what === 'code') appendFileSync(join(cluster.dir, 'code', 'rows.mjs'), '// other\n');
    const changed = what === 'variables' ? { variables: { MORE: '1' } } : { output: ['format: csv', 'delimiter: ";"'] };
    const { view, scored } = await run('second', { ...(what === 'code' ? {} : changed), since: 'first' });
    expect([view.status, scored.length, view.files.taken]).toEqual(['Completed', files, 0]);
    expect(view.since?.reason).toBe(reason);
    expect(readOutput(dirOf('second')).manifest).toMatchObject({ since: { job: 'first', reason } });
    expect(await soundness('second')).toEqual([]);
  });
});

describe('what rows cannot be taken from is refused', () => {
  const refusal = (text: string): Error => failing('SINCE_UNUSABLE', text);

  it('by what it is', async () => {
    await cluster.join('a', 2);
    await run('first');
    const other = join(cluster.dir, 'other');
    mkdirSync(other);
    writeFileSync(join(other, 'a.txt'), 'a');
    await expect(submit('x', { since: 'first', inputPath: other })).rejects.toThrow(refusal('this one is to score'));
    await expect(submit('x', { since: other })).rejects.toThrow(refusal('no output folder, or is not complete'));
    await expect(submit('x', { since: 'nobody' })).rejects.toThrow(failing('JOB_NOT_FOUND', 'nobody'));
    await run('summary', { more: ['output_action: summary_only'] });
    await expect(submit('x', { since: 'summary' })).rejects.toThrow(refusal('no file of rows'));
    await run('parts', { output: ['format: parquet'] });
    await expect(submit('x', { since: 'parts' })).rejects.toThrow(refusal('incremental: true'));
    await run('own', { variables: { OWN: '1' } });
    await expect(submit('x', { since: 'own' })).rejects.toThrow(refusal('files of its own'));
    await expect(submit('first', { since: 'first' })).rejects.toThrow(failing('REQUEST_INVALID', 'first exists'));
  });

  it('by how it ended, or that it has not', async () => {
    await submit('running');
    await expect(submit('x', { since: 'running' })).rejects.toThrow(refusal('no sealed output yet'));
    await cluster.coordinator.jobs.cancel('running', 0);
    await ended('running');
    await expect(submit('x', { since: 'running' })).rejects.toThrow(
      refusal('is Canceled; name a complete output, or leave --since out. A coordinator that has the job finishes it'),
    );
  });

  it('while somebody takes rows from it, nobody writes there', async () => {
    const node = await cluster.join('a', 2);
    await run('first');
    await node.close();
    change();
    await submit('second', { since: 'first' });
    const deployment = await deploymentOf({});
    const again = { deployment, inputPath: input, outputDir: dirOf('first'), isOverwrite: true, name: 'again' };
    await expect(cluster.coordinator.jobs.submit(again)).rejects.toThrow(
      failing('OUTPUT_EXISTS', 'job second takes rows from'),
    );
    const prune = { names: ['first'], olderThanMs: null, states: null, isDryRun: false, withOutput: true };
    expect(await cluster.coordinator.jobs.prune(prune)).toMatchObject([{ name: 'first', output_removed: false }]);
    const own = { ...again, since: dirOf('first') };
    await expect(cluster.coordinator.jobs.submit(own)).rejects.toThrow(failing('OUTPUT_EXISTS', 'first'));
    await cluster.join('b', 2);
    expect((await ended('second')).files).toMatchObject({ taken: files - 2, failed: 0 });
  });
});

describe('an incremental deployment', () => {
  it('takes rows from the last job of its name and input', async () => {
    await cluster.join('a', 2);
    const incremental = { input: ['incremental: true'] };
    const first = await run('first', incremental);
    expect([first.view.since, first.scored.length]).toEqual([null, files]);
    const changed = change();
    const second = await run('second', incremental);
    expect([second.view.since?.job, second.scored]).toEqual(['first', changed]);
    const third = await run('third', incremental);
    expect([third.view.since?.job, third.scored]).toEqual(['second', []]);
    expect((await run('fourth')).scored).toHaveLength(files + 1);
  });

  it('scores everything where the last output is gone', async () => {
    await cluster.join('a', 2);
    const incremental = { input: ['incremental: true'] };
    await run('first', incremental);
    // Its node may still send logs.
    rmSync(dirOf('first'), { recursive: true, maxRetries: 20, retryDelay: 50 });
    const { view, scored } = await run('second', incremental);
    expect([view.status, scored.length]).toEqual(['Completed', files]);
    expect(view.since?.reason).toContain('has no _manifest.json');
  });
});

it('`run --since FOLDER` says what it took', async () => {
  await deploymentOf({});
  const command = (output: string, ...more: string[]) =>
    runProgram(['run', 'deployment.yml', '--input', 'in', '--output', output, ...more], { cwd: cluster.dir }, 60_000);
  expect((await command('first')).code).toBe(0);
  change();
  const second = await command('second', '--since', 'first');
  expect([second.code, second.stderr]).toEqual([0, expect.stringMatching(/; 58 files taken from texts-\S+, 3 scored/)]);
  const unknown = await command('third', '--since', 'nobody');
  expect([unknown.code, unknown.stderr]).toEqual([expect.any(Number), expect.stringContaining('JOB_NOT_FOUND')]);
});
