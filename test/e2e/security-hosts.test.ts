/** What a scoring script sees of the machine, and where the value of a secret may stand: in its environment and nowhere else. */
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { askAs } from '../helpers/http-peer.ts';
import { writeDeployment, writeInputs } from '../helpers/job-folder.ts';
import { endPrograms, until } from '../helpers/programs.ts';
import { testPython } from '../helpers/python.ts';
import { readOutput } from '../helpers/sealed-output.ts';

const value = 'correct-horse-battery-staple';

let dir = '';
let cluster: ClusterProcesses;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-hosts-'));
  cluster = await ClusterProcesses.start({ dir, isSecure: true });
  const environment = {
    AWS_SECRET_ACCESS_KEY: 'not-for-scripts',
    SOME_API_TOKEN: 'nor-this',
    NVIDIA_API_KEY: 'nor-that',
  };
  await cluster.startWorker('alpha', { slots: 1, python: testPython(), environment });
  const set = await askAs(cluster.context, 'PUT', '/v1/secrets/service-key', { body: { value } });
  expect(set).toMatchObject({ status: 200, body: { name: 'service-key' } });
});
afterAll(async () => {
  await endPrograms();
  rmSync(dir, { recursive: true, force: true });
});

function deploymentOf(name: string, secret: string): string {
  const environment = { ASK_PORT: cluster.http.replace(/.*:/, ''), SERVICE_KEY: `\${secret:${secret}}` };
  return writeDeployment(dir, name, { script: 'nosy.py', environment, more: ['retry_settings:', '  max_retries: 1'] });
}

/** Files below a folder that hold the value, relative; looked for anew when a node removes some meanwhile. */
async function filesWith(root: string, text: string): Promise<readonly string[]> {
  return await vi.waitFor(() =>
    readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => {
      const stats = statSync(join(root, path), { throwIfNoEntry: false });
      return stats?.isFile() === true && readFileSync(join(root, path), 'latin1').includes(text);
    }),
  );
}

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    // The one that listed the folder.
    return '';
  }
}

test('a script sees its deployment’s variables, and no token, certificate, descriptor or answer of ours', async () => {
  const input = writeInputs(join(dir, 'in'), [
    ['a.txt', 'a'],
    ['b.txt', 'raise'],
  ]);
  const out = join(dir, 'out');
  const name = await cluster.submit([deploymentOf('nosy', 'service-key'), '--input', input, '--output', out]);
  const job = await cluster.job(name, ({ status }) => status === 'Completed' || status === 'Failed', 'the end');
  expect(job).toMatchObject({ status: 'Completed', files: { scored: 1, failed: 1 } });

  const logs = join(out, '_logs');
  const printed = await until(() => {
    const texts = readdirSync(logs, { recursive: true, encoding: 'utf8' })
      .filter((path) => /std(out|err)\.txt$/.test(path))
      .map((path) => readFileSync(join(logs, path), 'utf8'));
    return texts.some((text) => text.includes('KEY ')) && texts.some((text) => text.includes(' end\n'))
      ? texts.join('')
      : null;
  }, 'what the script printed');
  const [, environmentText = '{}'] = /^ENVIRONMENT (.*)$/m.exec(printed) ?? [];
  const environment = JSON.parse(environmentText) as Readonly<Record<string, string>>;
  expect(Object.keys(environment).filter((one) => /BATCHMILL|TOKEN|SECRET|API_KEY|XDG_CONFIG/.test(one))).toEqual([]);
  const everything = Object.values(environment).join('\n');
  for (const ours of [cluster.token, cluster.context.token ?? '', 'not-for-scripts', 'nor-this', 'nor-that']) {
    expect(everything).not.toContain(ours);
  }
  expect(environment['AZUREML_BI_OUTPUT_PATH']).toContain('scratch-alpha');

  // stdin is /dev/null, stdout and stderr go to the log; the channels to the node are 3 and 4, which the host has put at 100 and 101.
  // What whoever runs this test has open without saying "close it", every program that it starts has.
  const [, descriptorText = '[]'] = /^DESCRIPTORS (.*)$/m.exec(printed) ?? [];
  const descriptors = (JSON.parse(descriptorText) as readonly string[]).map(
    (one) => one.split(' ') as [string, string],
  );
  expect(descriptors[0]).toEqual(['0', '/dev/null']);
  const handedOn = new Set(readdirSync('/proc/self/fd').map((fd) => targetOf(`/proc/self/fd/${fd}`)));
  const found = descriptors.filter(([, target]) => !handedOn.has(target) && !target.startsWith('/proc/'));
  expect(found.filter(([fd]) => !['1', '2', '3', '4', '100', '101'].includes(fd))).toEqual([]);
  expect(printed).toContain('ANSWER HTTP/1.1 401 ');

  // It had the value, and what it printed of it is masked: whole, in two pieces, and in what it raised.
  expect(readOutput(out).text).toContain(String(value.length));
  expect(printed).toContain('KEY ***\n');
  expect(printed).toContain('half *** end\n');
  expect(readOutput(out).errors[0]?.message).toContain('refused with the key ***');
});

test('the value of a secret is in its own file, and in no other file, listing or answer', async () => {
  expect(await filesWith(dir, value)).toEqual([join('state', 'secrets', 'service-key')]);
  expect((statSync(join(cluster.stateDir, 'secrets', 'service-key')).mode & 0o777).toString(8)).toBe('600');
  expect(await filesWith(join(dir, 'state', 'journal'), '${secret:service-key}')).not.toEqual([]);
  for (const path of ['/v1/jobs', '/v1/jobs/last', '/v1/jobs/last/errors', '/v1/secrets', '/v1/audit', '/v1/nodes']) {
    const { status, body } = await askAs(cluster.context, 'GET', path);
    expect([path, status, JSON.stringify(body).includes(value)]).toEqual([path, 200, false]);
  }
  expect(`${cluster.coordinator.stdout}${cluster.coordinator.stderr}`).not.toContain(value);
  const { stdout } = await cluster.cli(['secret', 'list', '-o', 'json']);
  expect(JSON.parse(stdout)).toMatchObject([{ name: 'service-key' }]);
});

test('a reference to what is not there is refused when the job is made', async () => {
  const deployment = deploymentOf('lacks', 'nowhere');
  const input = writeInputs(join(dir, 'in2'), [['a.txt', 'a']]);
  const args = ['job', 'submit', deployment, '--input', input, '--output', join(dir, 'out2')];
  const { code, stderr } = await cluster.cli(args);
  expect([code, stderr]).toEqual([3, expect.stringContaining('error SECRET_NOT_FOUND')]);
  expect((await cluster.cli(['secret', 'delete', 'service-key'])).code).toBe(0);
  const again = await cluster.cli([...args.slice(0, 2), deploymentOf('gone', 'service-key'), ...args.slice(3)]);
  expect([again.code, again.stderr]).toEqual([3, expect.stringContaining('batchmill secret set service-key')]);
});
