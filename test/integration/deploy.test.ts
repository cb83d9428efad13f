/** What an operator copies out of deploy/, judged by the programs that will read it; and the NATS servers, run as they are told there. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { connect } from '@nats-io/transport-node';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parse } from 'yaml';
import { coordinatorSettings, workerSettings, type Environment } from '../../common/config/process-settings.ts';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { NatsStream } from '../../coordinator/journal/stream/nats-stream.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { DeployedNats, natsPasswords, writeAccounts } from '../helpers/deployed-nats.ts';
import { scorersDir, writeInputs } from '../helpers/job-folder.ts';
import { NatsServer } from '../helpers/nats-server.ts';
import { endPrograms } from '../helpers/programs.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-deploy-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
});

const root = packageFile('.');
const tool = (name: string): string => packageFile('.venv-deploy', 'bin', name);
const text = (...path: readonly string[]): string => readFileSync(packageFile(...path), 'utf8');

interface Verdict {
  readonly isGood: boolean;
  readonly said: string;
}

function judge(program: string, args: readonly string[], cwd = root): Verdict {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, encoding: 'utf8' });
  if (error) throw new Error(`${program}: ${error.message}; \`npm test\` makes it, or: node scripts/test-servers.mjs`);
  return { isGood: status === 0, said: stdout + stderr };
}

/** Where it is; null, and a line that says what stays unchecked, where it is not. */
function found(program: string, stays: string): string | null {
  if (spawnSync(program, ['--help'], { stdio: 'ignore' }).error === undefined) return program;
  console.warn(`SKIPPED: there is no ${program}; ${stays}`);
  return null;
}

describe('shell scripts', () => {
  const scripts = spawnSync('git', ['grep', '--untracked', '-lE', '^#!(/usr)?/bin/(env )?(ba)?sh'], {
    cwd: root,
    encoding: 'utf8',
  })
    .stdout.split('\n')
    .filter((path) => path !== '');

  it('pass shellcheck, all that there are', () => {
    expect(scripts).toEqual(expect.arrayContaining(['.ci/run', 'deploy/nats/certificates.sh']));
    // SC2329 takes functions that a trap calls for unused.
    expect(judge(tool('shellcheck'), ['--exclude=SC2329', ...scripts])).toEqual({ isGood: true, said: '' });
  });

  it('that are careless do not', () => {
    writeFileSync(join(dir, 'careless.sh'), '#!/bin/bash\nrm -rf $1/*\n');
    expect(judge(tool('shellcheck'), [join(dir, 'careless.sh')])).toMatchObject({ isGood: false });
  });
});

const systemd = found('systemd-analyze', 'the units of deploy/ are not checked (Debian: systemd)');
describe.skipIf(systemd === null)('systemd units', () => {
  const units = ['deploy/systemd/batchmill-coordinator.service', 'deploy/systemd/batchmill-worker.service'];
  const all = [...units, 'deploy/nats/nats-server.service'];

  /** With a program that is there: where node and NATS lie on a machine is not the units' fault. */
  function verify(change: (unit: string) => string = (unit) => unit, dropIn = ''): Verdict {
    for (const unit of all) {
      const onThisMachine = change(text(unit)).replaceAll(/^(ExecStart=)\/[^ \n]+/gm, `$1${process.execPath}`);
      writeFileSync(join(dir, unit.slice(unit.lastIndexOf('/') + 1)), onThisMachine);
    }
    const drop = join(dir, 'batchmill-coordinator.service.d');
    mkdirSync(drop, { recursive: true });
    const standby = text('deploy/systemd/standby.conf').replaceAll(/^(ExecStart=)\/[^ \n]+/gm, `$1${process.execPath}`);
    writeFileSync(join(drop, 'standby.conf'), standby + dropIn);
    const names = all.map((unit) => join(dir, unit.slice(unit.lastIndexOf('/') + 1)));
    return judge(systemd ?? '', ['verify', '--man=no', ...names]);
  }

  it('are understood, with the drop-in of a standby', () => {
    expect(verify()).toEqual({ isGood: true, said: '' });
  });

  it('with a word that systemd does not know are told', () => {
    expect(verify((unit) => unit.replace('Restart=', 'Restrat=')).said).toContain('Restrat');
    expect(verify(undefined, 'LoadCredentials=x\n').said).toContain('LoadCredentials');
  });

  it('read settings that the program takes', () => {
    const read = (role: string): Environment =>
      Object.fromEntries(
        [...text(`deploy/systemd/${role}.env.example`).matchAll(/^#?(BATCHMILL_\w+)=(.*)$/gm)].map(
          ([, name, value]) => [name, value],
        ),
      );
    expect(coordinatorSettings({}, read('coordinator'))).toMatchObject({
      listen: { host: '0.0.0.0', port: 7077 },
      http: { host: '127.0.0.1', port: 7078 },
      journal: { name: 'main', replicas: 3 },
    });
    const worker = read('worker');
    expect(workerSettings(worker['BATCHMILL_COORDINATOR'] ?? '', {}, worker)).toMatchObject({
      ...{ coordinators: [{ host: 'alpha', port: 7077 }], slots: 8, python: '/opt/scoring-venv/bin/python' },
    });
  });
});

describe('the container file', () => {
  const file = 'deploy/container/Dockerfile';

  it('passes hadolint', () => {
    expect(judge(tool('hadolint'), [file])).toEqual({ isGood: true, said: '' });
    writeFileSync(join(dir, 'Dockerfile'), 'FROM node\nRUN cd /tmp && sudo npm install\n');
    expect(judge(tool('hadolint'), [join(dir, 'Dockerfile')]).isGood).toBe(false);
  });

  it('copies what is in the repository, or is built', () => {
    const copied = [...text(file).matchAll(/^COPY --from=build ([^\n]+) \S+$/gm)].flatMap(([, from = '']) =>
      from.split(' '),
    );
    const paths = copied.filter((path) => path.startsWith('/opt/')).map((path) => path.replace('/opt/batchmill/', ''));
    expect(paths.filter((path) => !existsSync(packageFile(path)))).toEqual([]);
    expect(paths).toEqual(expect.arrayContaining(['dist', 'proto', 'worker/python', 'package.json']));
  });
});

const kubernetesVersions = ['1.29', '1.37'];
describe('Kubernetes', () => {
  const folder = packageFile('deploy', 'kubernetes');
  const whole = ['base/namespace.yaml', 'base/coordinator.yaml', 'base/workers.yaml', 'gpu/workers-gpu.yaml'];
  const validate = (files: readonly string[], version: string): Verdict =>
    judge(tool('kubernetes-validate'), ['--strict', '--quiet', '-k', version, ...files], folder);

  it.each(kubernetesVersions)('%s has the schemas of all resources', (version) => {
    expect(validate(whole, version)).toEqual({ isGood: true, said: '' });
  });

  it('would refuse a field that it does not know', () => {
    const worker = text('deploy/kubernetes/base/workers.yaml').replace('terminationGracePeriodSeconds', 'gracePeriod');
    writeFileSync(join(dir, 'workers.yaml'), worker);
    const { isGood, said } = validate([join(dir, 'workers.yaml')], kubernetesVersions[0] ?? '');
    expect([isGood, said.includes('gracePeriod')]).toEqual([false, true]);
  });

  it('every file is named by a kustomization', () => {
    for (const overlay of readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory())) {
      const files = readdirSync(join(folder, overlay.name)).filter((name) => name !== 'kustomization.yaml');
      const { resources = [], patches = [] } = parse(
        readFileSync(join(folder, overlay.name, 'kustomization.yaml'), 'utf8'),
      ) as {
        readonly resources?: readonly string[];
        readonly patches?: readonly { readonly path: string }[];
      };
      const named = [...resources.filter((one) => !one.startsWith('..')), ...patches.map(({ path }) => path)];
      expect([...named].sort(), overlay.name).toEqual(files.sort());
    }
  });

  const kubectl = found('kubectl', 'overlays of deploy/kubernetes are not put together, only their files checked');
  it.skipIf(kubectl === null).each(['base', 'gpu', 'standby'])('%s is put together and has its schemas', (overlay) => {
    const { isGood, said } = judge(kubectl ?? '', ['kustomize', join(folder, overlay)]);
    expect(isGood, said).toBe(true);
    writeFileSync(join(dir, 'all.yaml'), said);
    for (const version of kubernetesVersions)
      expect(validate([join(dir, 'all.yaml')], version)).toEqual({ isGood: true, said: '' });
    expect(said.includes('--standby')).toBe(overlay === 'standby');
  });
});

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: { readonly runbook: string };
}

describe('Prometheus', () => {
  const folder = packageFile('deploy', 'prometheus');
  const { groups } = parse(text('deploy/prometheus/batchmill.rules.yml')) as {
    readonly groups: readonly { readonly rules: readonly Rule[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  const promtool = existsSync(tool('promtool'))
    ? tool('promtool')
    : found('promtool', 'alert rules are not checked (Debian: prometheus)');

  it.skipIf(promtool === null)('its configuration is understood, with the files that it names', () => {
    cpSync(folder, dir, { recursive: true });
    for (const name of ['batchmill.token', 'batchmill-ca.pem']) writeFileSync(join(dir, name), '');
    const config = join(dir, 'prometheus.yml');
    writeFileSync(config, readFileSync(config, 'utf8').replaceAll('/etc/prometheus/', `${dir}/`));
    const { isGood, said } = judge(promtool ?? '', ['check', 'config', config]);
    expect(isGood, said).toBe(true);
  });

  it.skipIf(promtool === null)('each alert fires on what it is for, and on nothing else', () => {
    const { isGood, said } = judge(promtool ?? '', ['test', 'rules', 'batchmill.rules.test.yml'], folder);
    expect(isGood, said).toBe(true);
    const cases = parse(text('deploy/prometheus/batchmill.rules.test.yml')) as {
      readonly tests: readonly {
        readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts?: unknown }[];
      }[];
    };
    const checks = cases.tests.flatMap(({ alert_rule_test }) => alert_rule_test);
    const fired = new Set(checks.filter(({ exp_alerts }) => exp_alerts).map(({ alertname }) => alertname));
    const silent = new Set(checks.filter(({ exp_alerts }) => !exp_alerts).map(({ alertname }) => alertname));
    const names = rules.map(({ alert }) => alert);
    expect([[...fired].sort(), [...silent].sort()]).toEqual([[...names].sort(), [...names].sort()]);
  });

  it('alerts are on figures that there are, and their runbooks too', () => {
    const figures = text('docs/metrics.md');
    const runbook = text('docs/operations.md').toLowerCase();
    for (const { alert, expr, annotations } of rules) {
      const names = [...expr.matchAll(/batchmill_\w+/g)].map(([name]) => name.replace(/_bucket$/, ''));
      expect(
        names.filter((name) => !figures.includes(`\`${name}\``)),
        alert,
      ).toEqual([]);
      const heading = annotations.runbook.split('#')[1]?.replaceAll('-', ' ') ?? '';
      expect(runbook, alert).toContain(`\n## ${heading}\n`);
    }
  });
});

describe('NATS', () => {
  it('its user may do what the journal does, and no more; a listener hears events', async () => {
    writeAccounts(join(dir, 'accounts.conf'));
    Object.assign(process.env, natsPasswords);
    const server = await new NatsServer(dir, { more: 'include "accounts.conf"\nno_auth_user: batchmill' }).start();
    try {
      await journalLife(server.address);
      await expect(NatsStream.open({ servers: [server.address], name: 'other', replicas: 1 })).rejects.toThrow();
      const refused = await vi.waitFor(() => violations(server.log));
      // What it was refused before would stand there too.
      expect(refused.filter((subject) => !subject.includes('BATCHMILL_other'))).toEqual([]);
      const listener = await connect({
        servers: server.address,
        user: 'listener',
        pass: natsPasswords.NATS_LISTENER_PASSWORD,
      });
      const events = listener.subscribe('batchmill.main.jobs.>', { max: 1 });
      await listener.flush();
      const coordinator = await connect({ servers: server.address });
      coordinator.publish('batchmill.main.jobs.one.completed', '{}');
      for await (const { subject } of events) expect(subject).toBe('batchmill.main.jobs.one.completed');
      listener.publish('batchmill.main.journal', 'forged');
      await listener.flush();
      await Promise.all([listener.close(), coordinator.close()]);
      await vi.waitFor(() => expect(violations(server.log)).toContain('batchmill.main.journal'));
    } finally {
      await server.kill();
      for (const name of Object.keys(natsPasswords)) delete process.env[name];
    }
  });

  it('that does not let a coordinator ask who stands by refuses the job, not the coordinator', async () => {
    const accounts = join(dir, 'accounts.conf');
    writeAccounts(accounts);
    const known = readFileSync(accounts, 'utf8');
    writeFileSync(accounts, known.replaceAll('"batchmill.main.standby"', ''));
    Object.assign(process.env, natsPasswords);
    const server = await new NatsServer(dir, { more: 'include "accounts.conf"\nno_auth_user: batchmill' }).start();
    try {
      const journal = ['--journal', `nats://${server.address}/main`, '--local-dir', join(dir, 'local')];
      const cluster = await ClusterProcesses.start({ dir, more: ['--standby', ...journal] });
      const input = writeInputs(join(dir, 'in'), [['1.txt', '1']]);
      const job = [join(scorersDir, 'hash-rows.mjs'), '--input', input, '--output', join(dir, 'out')];
      const what = 'may not publish to batchmill.main.standby on NATS; allow that as deploy/nats/accounts.conf does';
      await expect(cluster.submit(job)).rejects.toThrow('JOURNAL_STREAM_UNFIT');
      const handed = await cluster.cli(['coordinator', 'handover']);
      expect(handed).toMatchObject({ code: 1, stderr: expect.stringContaining(what) as string });
      // Once as it began to stand by and could not be asked, and once for both questions.
      expect(cluster.coordinator.stderr.match(/NATS forbids what a coordinator does/g)).toHaveLength(2);
      // Allowed, it learns that nobody stands by.
      writeFileSync(accounts, known);
      server.signal('SIGHUP');
      await vi.waitFor(async () => expect(await cluster.submit(job)).not.toBe(''));
      const alone = await cluster.cli(['coordinator', 'handover']);
      expect(alone).toMatchObject({ stderr: expect.stringContaining('NO_STANDBY') as string });
      expect(cluster.coordinator.end).toBeNull();
    } finally {
      await endPrograms();
      await server.kill();
      for (const name of Object.keys(natsPasswords)) delete process.env[name];
    }
  });

  it('three servers from the files keep the journal of a coordinator that scores', { timeout: 120_000 }, async () => {
    const nats = await DeployedNats.start(dir);
    try {
      expect(nats.judge()).toMatchObject({ status: 0 });
      const cluster = await ClusterProcesses.start({
        ...{ dir, isSecure: true, more: ['--journal', `nats://${nats.addresses}/main?replicas=3`] },
        environment: { NODE_EXTRA_CA_CERTS: nats.authority },
      });
      await cluster.startWorker('a');
      const input = writeInputs(
        join(dir, 'in'),
        [1, 2, 3, 4].map((at) => [`${at}.txt`, `${at}`] as const),
      );
      const script = join(scorersDir, 'hash-rows.mjs');
      const job = await cluster.submit([
        script,
        '--input',
        input,
        '--output',
        join(dir, 'out'),
        '--set',
        'settings.mini_batch_size=1',
      ]);
      const { rows } = await cluster.job(job, ({ status }) => status === 'Completed', 'its end');
      expect(rows).toBe(4);
      expect(nats.log).not.toContain('Violation');
      expect(healthOf(cluster)).toMatchObject({ isGood: true });
      expect(healthOf(cluster, '127.0.0.1:1')).toMatchObject({
        isGood: false,
        said: expect.stringContaining('ECONNREFUSED') as string,
      });
    } finally {
      await endPrograms();
      await nats.close();
    }
  });
});

/** Subjects that a server has refused to take, of which there is one at least. */
function violations(log: string): readonly string[] {
  const found = [...log.matchAll(/Violation - Subject "([^"]+)"/g)].map(([, subject = '']) => subject);
  expect(found).not.toEqual([]);
  return found;
}

/** All that a coordinator asks of its stream: append, read, follow, snapshots, trimming, election, and of others who stand by. */
async function journalLife(address: string): Promise<void> {
  const stream = await NatsStream.open({ servers: [address], name: 'main', replicas: 1 });
  try {
    for (const place of [0, 1, 2])
      expect(await stream.publish(Buffer.from('group'), place)).toMatchObject({ kind: 'stored' });
    expect(await stream.get(2)).not.toBeNull();
    const over = new AbortController();
    for await (const { place } of stream.follow(1, over.signal)) if (place === 3) over.abort();
    const snapshots = [1, 2].map((sequence) => ({ sequence, epoch: 1, chain: 7, place: sequence }));
    for (const snapshot of snapshots) await stream.putSnapshot(snapshot, pieces());
    const [newest, oldest] = await stream.snapshots();
    expect([newest, oldest]).toEqual([...snapshots].reverse());
    if (oldest) await stream.removeSnapshot(oldest);
    await stream.trim(2);
    expect(await stream.ends()).toEqual({ first: 2, last: 3 });
    const election = await stream.election('one', delay, systemClock);
    expect([await election.won(over.signal), await election.won(new AbortController().signal)]).toEqual([false, true]);
    expect(await election.leader()).toBe('one');
    await election.resign();
    expect(await election.leader()).toBeNull();
    const peers = stream.peers();
    expect(await peers.ask('who?', limits.standbyAnswerMs)).toEqual([]);
    const end = peers.answer((question) => Promise.resolve(`${question} one`));
    expect(await peers.ask('who?', limits.standbyAnswerMs)).toEqual(['who? one']);
    end();
  } finally {
    await stream.close();
  }
}

async function* pieces(): AsyncGenerator<Uint8Array, void, void> {
  yield await Promise.resolve(Buffer.alloc(300_000, 'image'));
}

/** What the health check of a coordinator's container says. */
function healthOf({ http, stateDir }: ClusterProcesses, address = http): Verdict {
  const environment = { ...process.env, BATCHMILL_HTTP: address, BATCHMILL_STATE_DIR: stateDir };
  const script = packageFile('deploy', 'container', 'healthy.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script], {
    cwd: dirname(script),
    env: environment,
    encoding: 'utf8',
  });
  return { isGood: status === 0, said: stderr };
}
