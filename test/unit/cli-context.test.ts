/** `context …`: what is kept, what is shown, and which coordinator commands then talk to. */
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readContexts } from '../../common/config/contexts.ts';
import { fingerprintOfPem } from '../../common/security/fingerprint.ts';
import { cli, type CliRun, type TestHostOptions } from '../helpers/cli-host.ts';
import { TempFolder } from '../helpers/temp-folder.ts';

let folder: TempFolder;
beforeEach(() => (folder = new TempFolder()));
afterEach(() => folder.remove());

async function run(line: string, options: TestHostOptions = {}): Promise<CliRun> {
  const environment = { XDG_CONFIG_HOME: folder.path, ...options.environment };
  return await cli(line.split(' '), { cwd: folder.path, ...options, environment });
}

const kept = (): string => readFileSync(join(folder.path, 'batchmill', 'contexts.yml'), 'utf8');

describe('context', () => {
  test('add, use, list, show, remove; a token is never shown', async () => {
    const added = await run('context add lab --server lab:7078 --token -', { stdin: 'sesame\n' });
    expect(JSON.parse(added.stdout)).toEqual({
      ...{ name: 'lab', current: true, server: 'lab:7078', insecure: false, ca_fingerprint: null, has_token: true },
    });
    expect(kept()).toContain('token: sesame');
    const second = await run('context add desk --server http://127.0.0.1:7078');
    expect([JSON.parse(second.stdout), second.stderr]).toMatchObject([
      { current: false, insecure: true },
      expect.stringContaining('next        batchmill context use desk'),
    ]);
    expect((await run('context use desk --query name -o tsv')).stdout).toBe('desk\n');
    const shown = [await run('context list'), await run('context show lab'), await run('context list -o table')];
    for (const { stdout, stderr } of shown) expect(stdout + stderr).not.toContain('sesame');
    expect((await run('context list --query [].[name,current] -o tsv')).stdout).toBe('lab\tFalse\ndesk\tTrue\n');
    expect((await run('context remove desk')).stderr).toContain('no context is in use now');
    expect((await run('context show')).code).toBe(3);
    expect(kept()).not.toContain('desk');
  });

  test.each([
    ['context add a/b --server x:1', 2, 'the name of a context'],
    ['context add a --server x', 2, '--server: wanted HOST:PORT'],
    ['context add a', 2, "required option '--server <host:port>' not specified"],
    ['context add a --server x:1 --ca-file gone.pem', 2, 'gone.pem cannot be read'],
    ['context add a --server x:1 --ca-file no.pem', 2, 'is no certificate in PEM'],
    ['context add a --server x:1 --ca-fingerprint abc', 2, '--ca-fingerprint: wanted sha256:'],
    ['context use gone', 3, 'CONTEXT_NOT_FOUND'],
    ['context remove gone', 3, 'CONTEXT_NOT_FOUND'],
    ['job list --context gone', 3, 'CONTEXT_NOT_FOUND'],
  ])('%s', async (line, code, reason) => {
    folder.put({ 'no.pem': 'nothing' });
    const { code: found, stdout, stderr } = await run(line);
    expect([found, stdout, stderr]).toEqual([code, '', expect.stringContaining(reason)]);
  });

  test('an authority is fetched from the server, and believed by its fingerprint alone', async () => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', 'key.pem'];
    const made = ['req', '-x509', ...key, '-out', 'ca.pem', '-subj', '/CN=batchmill-coordinator', '-days', '2'];
    await promisify(execFile)('openssl', made, { cwd: folder.path });
    const [pem, keyPem] = ['ca.pem', 'key.pem'].map((file) => readFileSync(join(folder.path, file), 'utf8'));
    const server = createTlsServer({ cert: pem, key: keyPem, ALPNProtocols: ['http/1.1'] });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const where = `127.0.0.1:${(server.address() as AddressInfo).port}`;
      const print = fingerprintOfPem(pem ?? '');
      const added = await run(`context add lab --server ${where} --ca-fingerprint ${print}`);
      expect([added.code, JSON.parse(added.stdout)]).toMatchObject([0, { ca_fingerprint: print, insecure: false }]);
      expect((await readContexts({ XDG_CONFIG_HOME: folder.path })).byName.get('lab')?.ca?.trim()).toBe(pem?.trim());
      const other = await run(`context add lab2 --server ${where} --ca-fingerprint sha256:${'0'.repeat(64)}`);
      expect([other.code, other.stderr]).toEqual([6, expect.stringContaining('error SERVER_UNTRUSTED')]);
      expect(kept()).not.toContain('lab2');
      const byFile = await run(`context add lab3 --server ${where} --ca-file ca.pem --query ca_fingerprint -o tsv`);
      expect(byFile.stdout).toBe(`${print}\n`);
      const wrong = await run(
        `context add lab4 --server ${where} --ca-file ca.pem --ca-fingerprint sha256:${'0'.repeat(64)}`,
      );
      expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('not sha256:000')]);
    } finally {
      server.close();
    }
  });

  test('says which coordinator the other commands talk to', async () => {
    const seen: string[] = [];
    const server = createServer((request, response) => {
      seen.push(request.url ?? '');
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"value":[],"next":null}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      mkdirSync(join(folder.path, 'batchmill'));
      const entry = `{ server: "127.0.0.1:${port}", insecure: true }`;
      writeFileSync(
        join(folder.path, 'batchmill', 'contexts.yml'),
        `current: far\ncontexts: { far: { server: "127.0.0.1:1" }, near: ${entry} }\n`,
      );
      expect((await run('endpoint list')).code).toBe(5);
      expect((await run('endpoint list --context near')).stdout).toBe('[]\n');
      expect((await run('endpoint list', { environment: { BATCHMILL_CONTEXT: 'near' } })).code).toBe(0);
      await run('context use near');
      expect((await run('endpoint list')).code).toBe(0);
      expect(seen).toHaveLength(3);
    } finally {
      server.close();
    }
  });
});
