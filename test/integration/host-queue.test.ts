/** Mini-batches that a scoring host is sent before it has answered the last, with a real host: order, blame, files, writes. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { compiledFile } from '../../common/io/package-files.ts';
import { HostProcess, type ScoreOutcome, type Unbegun } from '../../worker/pool/host-process.ts';

let dir = '';
let host: HostProcess | null = null;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), 'batchmill-queue-'))));
afterEach(async () => {
  await host?.kill();
  host = null;
  rmSync(dir, { recursive: true, force: true });
});

async function start(code: string): Promise<HostProcess> {
  const main = compiledFile('worker', 'scorers', 'node-host.js');
  if (!existsSync(main)) throw new Error(`${main} does not exist: run \`npm run build\` first`);
  for (const folder of ['code', 'custom', 'cwd']) mkdirSync(join(dir, folder));
  writeFileSync(join(dir, 'code', 'score.mjs'), code);
  host = await HostProcess.start({
    ...{ command: process.execPath, args: [main], env: { PATH: process.env['PATH'] ?? '' }, cwd: join(dir, 'cwd') },
    logSink: () => undefined,
    spoolDir: join(dir, 'spool'),
    init: {
      scorer: { kind: 'node', script: 'score.mjs' },
      settings: { outputFormat: 'azure', outputAction: 'append_row', loggingLevel: 'info' },
      ...{ modelDir: null, modelPath: null, codeDir: join(dir, 'code'), customDir: join(dir, 'custom') },
      ...{ logDir: join(dir, 'logs'), job: 'job', node: 'node', process: 0 },
    },
  });
  return host;
}

/** One mini-batch for each name, all of them at once. */
function queueAll(one: HostProcess, names: readonly string[], timeoutMs = 30_000): Promise<(ScoreOutcome | Unbegun)[]> {
  const files = names.map((name) => [{ path: join(dir, name), name }]);
  return Promise.all(files.map((file, first) => one.queue(file, { first, timeoutMs })));
}

const kinds = (outcomes: readonly (ScoreOutcome | Unbegun)[]): readonly string[] => outcomes.map(({ kind }) => kind);

test('all are answered in order, each with its own rows', async () => {
  const one = await start('export const run = (paths, { names }) => names.map((name) => `row of ${name}`);\n');
  expect(one.ready.queues).toBe(true);
  const names = Array.from({ length: 200 }, (_, index) => `file-${index}`);
  const outcomes = await queueAll(one, names);
  for (const [place, outcome] of outcomes.entries()) {
    if (outcome.kind !== 'scored') throw new Error(`${outcome.kind} is not scored`);
    expect(Buffer.from(outcome.body.inline() ?? []).toString()).toBe(`row of file-${place}\n`);
    expect(outcome.isFolderEmpty).toBe(true);
  }
});

test('a crash is that of the one that was begun; those behind it are not begun, those before it are scored', async () => {
  const one = await start(
    'export const run = (paths, { names }) => (names[0] === "bad" ? process.kill(process.pid, "SIGKILL") : names);\n',
  );
  const outcomes = await queueAll(one, ['a', 'b', 'bad', 'c', 'd']);
  const [, , bad] = outcomes;
  expect(bad).toMatchObject({ kind: 'failed', class: 'crash', isHostDead: true, fileIndex: 0 });
  expect(kinds(outcomes).slice(3)).toEqual(['unbegun', 'unbegun']);
  expect(kinds(outcomes).slice(0, 2)).toEqual(['scored', 'scored']);
  expect(one.isAlive).toBe(false);
});

test('the time of each begins with its turn', async () => {
  const one = await start(
    'export const run = async (paths, { names }) => {\n' +
      '  await new Promise((resolve) => setTimeout(resolve, names[0] === "hangs" ? 1e9 : 300));\n  return names;\n};\n',
  );
  // Together they take longer than any of them may.
  const outcomes = await queueAll(one, ['a', 'b', 'c', 'd', 'e', 'hangs', 'f'], 1_000);
  expect(kinds(outcomes)).toEqual(['scored', 'scored', 'scored', 'scored', 'scored', 'failed', 'unbegun']);
  expect(outcomes[5]).toMatchObject({ class: 'timeout', isHostDead: true });
});

test('what waits is handed back once user code has left a file, which has to be collected first', async () => {
  const one = await start(
    'import { writeFileSync } from "node:fs";\n' +
      'export const run = (paths, { names, outputDir }) => {\n' +
      '  if (names[0] === "writes") writeFileSync(`${outputDir}/extra.txt`, "x");\n  return names;\n};\n',
  );
  const outcomes = await queueAll(one, ['a', 'writes', 'b', 'c']);
  expect(kinds(outcomes)).toEqual(['scored', 'scored', 'unbegun', 'unbegun']);
  expect(outcomes.map((outcome) => outcome.kind === 'scored' && outcome.isFolderEmpty)).toEqual([
    true,
    false,
    false,
    false,
  ]);
  rmSync(join(dir, 'custom', 'extra.txt'));
  // Asked alone it is begun, whatever lies there.
  expect(kinds(await queueAll(one, ['d']))).toEqual(['scored']);
});
