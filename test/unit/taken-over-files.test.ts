/** Files of a job that a coordinator of before may have open still, and what it may still do to them. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { forkFile } from '../../common/io/fork-file.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { LineFile } from '../../coordinator/output/line-file.ts';
import { temporaryName } from '../../coordinator/output/output-names.ts';
import { recoverOutput } from '../../coordinator/output/recover-output.ts';
import { guardedFileSystem } from '../../coordinator/standby/guarded-file-system.ts';
import { failing } from '../helpers/failing.ts';
import { systemError } from '../helpers/memory-file-system.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
beforeEach(() => {
  folder = new TempFolder();
});
afterEach(() => folder.remove());

it('a late write of the one before reaches neither the output nor results that are committed', async () => {
  const outputDir = join(folder.path, 'out');
  const stagingDir = join(folder.path, 'staging');
  for (const dir of [outputDir, stagingDir]) await nodeFileSystem.makeDir(dir);
  const partial = join(outputDir, 'rows.csv.partial');
  const segment = join(stagingDir, 'segment-000001');
  writeFileSync(partial, 'committed, and what was not');
  const open = join(stagingDir, 'segment-000002');
  writeFileSync(segment, 'staged');
  writeFileSync(open, '');
  const [zombie, other, fresh] = await Promise.all(
    [partial, segment, open].map((path) => nodeFileSystem.open(path, 'update')),
  );
  const output = await recoverOutput(
    { fileSystem: nodeFileSystem, outputDir, outputFileName: 'rows.csv', generation: 1, stagingDir, isShared: true },
    { outputEnd: 9, prologue: null, liveSegments: new Set([1]) },
  );
  // Its successor's, under the same name.
  const next = await nodeFileSystem.open(open, 'create');
  await next.write([Buffer.from('staged next')], 0);
  await zombie?.write([Buffer.from('LATE LATE LATE')], 5);
  // Where its own results would have stood.
  await other?.write([Buffer.from('LATE')], 6);
  await fresh?.write([Buffer.from('LATE')], 0);
  await output?.write([Buffer.from(' rows')], 9);
  await Promise.all([zombie, other, fresh, next, output].map((file) => file?.close()));
  expect(readFileSync(partial, 'utf8')).toBe('committed rows');
  expect([segment, open].map((path) => readFileSync(path, 'utf8').slice(0, 11))).toEqual(['stagedLATE', 'staged next']);
  expect(readdirSync(outputDir)).toEqual(['rows.csv.partial']);
});

it('a late write of the one before does not reach rows that the next one takes from an earlier output', async () => {
  const [outputDir, stagingDir] = [join(folder.path, 'out'), join(folder.path, 'staging')];
  for (const dir of [outputDir, stagingDir]) await nodeFileSystem.makeDir(dir);
  const path = join(stagingDir, 'taken');
  writeFileSync(path, 'known');
  const zombie = await nodeFileSystem.open(path, 'update');
  const output = await recoverOutput(
    { fileSystem: nodeFileSystem, outputDir, outputFileName: 'rows.csv', generation: 1, stagingDir, isShared: true },
    { outputEnd: 0, prologue: null, liveSegments: new Set() },
  );
  const next = await nodeFileSystem.open(path, 'create');
  await next.write([Buffer.from(' more')], 5);
  await zombie.write([Buffer.from('LATE')], 5);
  await Promise.all([zombie, next, output].map((file) => file?.close()));
  expect(readFileSync(path, 'utf8')).toBe('known more');
  expect(readdirSync(stagingDir)).toEqual(['taken']);
});

it('a copy for which there is no room leaves nothing behind', async () => {
  const path = join(folder.path, 'rows.csv.partial');
  writeFileSync(path, 'committed');
  const full: FileSystem = {
    ...nodeFileSystem,
    open: async (name, how) => {
      const file = await nodeFileSystem.open(name, how);
      if (how === 'replace') file.write = () => Promise.reject(systemError('ENOSPC', name));
      return file;
    },
  };
  await expect(forkFile(full, path, 9, temporaryName)).rejects.toThrow('ENOSPC');
  expect([readdirSync(folder.path), readFileSync(path, 'utf8')]).toEqual([['rows.csv.partial'], 'committed']);
});

it('a late write of the one before does not reach a file that is written anew', async () => {
  const path = join(folder.path, '_manifest.json');
  const zombie = await LineFile.create(nodeFileSystem, path);
  const guarded = guardedFileSystem(nodeFileSystem, {
    ...{ localDir: join(folder.path, 'own'), silentMs: () => 0, delay: () => Promise.resolve() },
    signal: new AbortController().signal,
  });
  const next = await LineFile.create(guarded, path);
  next.add('of the next one');
  await next.finish();
  zombie.add('LATE');
  await zombie.flush();
  await zombie.abandon();
  expect(readFileSync(path, 'utf8')).toBe('of the next one\n');
});

it('whoever may have been replaced gives no file a name and takes none away, but for its own', async () => {
  let silentMs = 0;
  const own = join(folder.path, 'own');
  await nodeFileSystem.makeDir(own);
  const { signal } = new AbortController();
  const renewed = (): Promise<void> => Promise.resolve(void (silentMs = 0));
  const guarded = guardedFileSystem(nodeFileSystem, {
    localDir: own,
    silentMs: () => silentMs,
    delay: renewed,
    signal,
  });
  const [a, b] = [join(folder.path, 'a'), join(folder.path, 'b')];
  await (await guarded.open(a, 'replace')).close();
  silentMs = limits.leaderSilentMs;
  await (await guarded.open(a, 'replace')).close();
  expect(silentMs, 'it has waited until its lease was renewed').toBe(0);
  silentMs = limits.leaderSilentMs + 1;
  const refusals = [
    () => guarded.open(a, 'replace'),
    () => guarded.open(b, 'create'),
    () => guarded.rename(a, b),
    () => guarded.link(a, b),
    () => guarded.remove(a),
    () => guarded.removeDir(own),
  ];
  for (const refused of refusals) await expect(refused()).rejects.toThrow(failing('NOT_LEADING', 'left as it is'));
  await (await guarded.open(a, 'read')).close();
  await (await guarded.open(join(own, 'journal'), 'replace')).close();
  await (await guarded.open(join(folder.path, '.batchmill-lock'), 'replace')).close();
  await guarded.remove(join(folder.path, '.batchmill-lock'));
  expect(readdirSync(folder.path).toSorted()).toEqual(['a', 'own']);
});
