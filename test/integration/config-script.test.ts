/** Python scripts are parsed, by a real Python, before anything is sent. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadDeployment, type LoadOptions } from '../../common/config/deployment-file.ts';
import { matching } from '../helpers/matching.ts';
import { cli } from '../helpers/cli-host.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
let notes: string[];
beforeEach(() => {
  folder = new TempFolder();
  notes = [];
});
afterEach(() => folder.remove());

const broken = 'import nothing_like_this\n\n\ndef init():\n    x = (1,\n    return x\n';

async function load(code: string, options: LoadOptions = {}, more = ''): Promise<void> {
  folder.put({
    'code/score.py': code,
    'deployment.yml': `type: model\ncode_configuration:\n  code: code\n  scoring_script: score.py\n${more}`,
  });
  await loadDeployment('deployment.yml', { cwd: folder.path, onNote: (text) => notes.push(text), ...options });
}

test('a syntax error stops with file, line and the text at fault', async () => {
  await expect(load(broken)).rejects.toMatchObject({
    code: 'SCRIPT_INVALID',
    message: matching(
      /^deployment\.yml:4:19: code_configuration\.scoring_script: code\/score\.py:[56]:\d+: .+: .+ \(as Python 3\.\d+ reads it; --skip-script-validation/,
    ),
  });
});

test('only syntax: what it imports and whether it has init() and run() is found out when it runs', async () => {
  await load('import nothing_like_this\n');
  await load('# -*- coding: latin-1 -*-\nprint("fine")\n');
  expect(notes).toEqual([]);
});

test('the script is not run', async () => {
  await load(`open(${JSON.stringify(`${folder.path}/ran`)}, "w")\n`);
  expect(() => readFileSync(`${folder.path}/ran`)).toThrow('ENOENT');
});

test('it may be left out, and is where there is no Python', async () => {
  await load(broken, { isScriptUnchecked: true });
  expect(notes).toEqual([]);
  await load(broken, { python: 'no-such-python' });
  expect(notes).toEqual(['score.py is not checked for syntax: there is no no-such-python here']);
});

test('the interpreter of --environment is asked; one that answers nothing is told', async () => {
  folder.put({ 'venv/bin/python': 'no program' });
  await expect(load(broken, { environment: 'venv' })).rejects.toMatchObject({ code: 'SCRIPT_INVALID' });
  await load(broken, { environment: 'venv', python: 'no-such-python' });
  expect(notes).toEqual([matching(/^score\.py is not checked for syntax: /)]);
});

test('a script for a newer Python than the one that reads it is let through with a note', async () => {
  await load(broken, {}, 'environment: {conda_file: {dependencies: [python=3.99]}}\n');
  expect(notes).toEqual([matching(/score\.py:[56]:\d+: .* the environment has 3\.99, which may read it otherwise\)$/)]);
});

test('validate says it, and --skip-script-validation does not', async () => {
  await load(broken, { isScriptUnchecked: true });
  const refused = await cli(['validate', 'deployment.yml'], { cwd: folder.path });
  expect([refused.code, refused.stdout]).toEqual([1, '']);
  expect(refused.stderr).toContain('error SCRIPT_INVALID: deployment.yml:4:19');
  const skipped = await cli(['validate', 'deployment.yml', '--skip-script-validation', '-o', 'json'], {
    cwd: folder.path,
  });
  expect(skipped.code).toBe(0);
  expect(JSON.parse(skipped.stdout)).toMatchObject({ scorer: { kind: 'python', script: 'score.py' } });
});
