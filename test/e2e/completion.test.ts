/** The completion scripts in the shells that they are for, with names of a real coordinator. */
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compiledFile } from '../../common/io/package-files.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { endPrograms } from '../helpers/programs.ts';

let dir = '';
let cluster: ClusterProcesses;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-completion-'));
  mkdirSync(join(dir, 'bin'));
  const program = join(dir, 'bin', 'batchmill');
  writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${compiledFile('cli', 'main.js')} "$@"\n`);
  chmodSync(program, 0o755);
  cluster = await ClusterProcesses.start({ dir });
  for (const name of ['digits-a', 'digits-b', 'other'])
    expect((await cluster.cli(['endpoint', 'create', '-n', name])).code).toBe(0);
}, 120_000);
afterAll(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

/** What the shell prints, as lines. */
async function inShell(shell: string, args: readonly string[], script: string): Promise<readonly string[]> {
  const env = {
    ...process.env,
    PATH: `${join(dir, 'bin')}:${process.env['PATH'] ?? ''}`,
    XDG_CONFIG_HOME: join(dir, '.config'),
    BATCHMILL_SERVER: cluster.http,
  };
  const { stdout, stderr } = await promisify(execFile)(shell, [...args, script], { cwd: dir, env });
  expect(stderr).toBe('');
  return stdout.split('\n').filter((line) => line !== '');
}

type Complete = (line: string) => Promise<readonly string[]>;

const quoted = (line: string): string =>
  line
    .split(' ')
    .map((word) => `'${word}'`)
    .join(' ');

const shells: Readonly<Record<string, Complete>> = {
  bash: async (line) => {
    const words = `COMP_WORDS=(${quoted(line)}); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))`;
    const script = `source <(batchmill completion bash); ${words}; _batchmill; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return await inShell('bash', ['--norc', '-c'], script);
  },
  // What zsh's own completion would be handed: its functions stand in to print it.
  zsh: async (line) => {
    const stands = '_describe() { print -l -- "${(@P)2%%:*}" }; _files() { }';
    const script = `${stands}; source <(batchmill completion zsh); words=(${quoted(line)}); CURRENT=\${#words}; _batchmill`;
    return await inShell('zsh', ['-f', '-c'], script);
  },
  fish: async (line) => {
    const found = await inShell(
      'fish',
      ['--no-config', '-c'],
      `batchmill completion fish | source; complete -C '${line}'`,
    );
    return found.map((one) => one.split('\t')[0] ?? '');
  },
};

const isThere = (shell: string): boolean =>
  (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, shell)));

describe.each(Object.keys(shells))('%s', (shell) => {
  const complete = shells[shell] as Complete;
  test.skipIf(!isThere(shell))(
    'completes commands, flags, choices and names',
    async () => {
      expect(await complete('batchmill endpoint inv')).toEqual(['invoke']);
      expect(await complete('batchmill endpoint invoke --input-t')).toEqual(['--input-type']);
      expect(await complete('batchmill endpoint invoke --input-type uri_fi')).toEqual(['uri_file']);
      expect((await complete('batchmill endpoint show -n digits-')).toSorted()).toEqual(['digits-a', 'digits-b']);
      expect(await complete('batchmill job cancel x')).toEqual([]);
    },
    120_000,
  );
});
