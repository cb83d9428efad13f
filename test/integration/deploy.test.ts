/** What an operator copies out of deploy/, judged by the programs that will read it. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { coordinatorSettings, workerSettings, type Environment } from '../../common/config/process-settings.ts';
import { packageFile } from '../../common/io/package-files.ts';

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

/** What `assignment` finds in a file: a variable and its value, each. */
function variables(file: string, assignment: RegExp): Environment {
  return Object.fromEntries([...file.matchAll(assignment)].map(([, name, value]) => [name, value]));
}

/** Of deploy/nats, however a standby is started. */
const standbySettings = {
  ...{ isStandby: true, isInsecure: false, journal: { name: 'main', replicas: 3 } },
  ...{ listen: { host: '0.0.0.0', port: 7077 }, http: { host: '0.0.0.0', port: 7078 } },
  nats: { login: { kind: 'user', user: 'batchmill' } },
};

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
    writeFileSync(join(drop, 'standby.conf'), text('deploy/systemd/standby.conf') + dropIn);
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
      variables(text(`deploy/systemd/${role}.env.example`), /^#?(\w+)=(.*)$/gm);
    const alone = variables(text('deploy/systemd/coordinator.env.example'), /^(\w+)=(.*)$/gm);
    // Other machines reach what the example opens, and Prometheus the port that it scrapes.
    expect(coordinatorSettings({}, alone)).toMatchObject({
      ...{ listen: { host: '0.0.0.0', port: 7077 }, http: { host: '0.0.0.0', port: 7078 }, journal: null },
    });
    expect(text('deploy/prometheus/prometheus.yml')).toContain("targets: ['alpha:7078']");
    const worker = read('worker');
    expect(workerSettings(worker['BATCHMILL_COORDINATOR'] ?? '', {}, worker)).toMatchObject({
      ...{ coordinators: [{ host: 'alpha', port: 7077 }], slots: 8, python: '/opt/scoring-venv/bin/python' },
    });
  });

  it('start a standby, with a state directory of all machines and a local one', () => {
    const dropIn = text('deploy/systemd/standby.conf');
    const lines = (key: string, file: string): readonly string[] =>
      [...file.matchAll(new RegExp(`^${key}=-?(.+)$`, 'gm'))].flatMap(([, value = '']) => value.split(' '));
    const unit = text('deploy/systemd/batchmill-coordinator.service');
    // As systemd has it: drop-ins over units, and files over both.
    const environment = {
      ...variables([...lines('Environment', unit), ...lines('Environment', dropIn)].join('\n'), /^(\w+)=(.*)$/gm),
      ...variables(text('deploy/systemd/coordinator.env.example'), /^#?(\w+)=(.*)$/gm),
    };
    const settings = coordinatorSettings({}, environment);
    expect(settings).toMatchObject({ ...standbySettings, stateDir: '/srv/batchmill', localDir: '/var/lib/batchmill' });
    expect(settings.nats).toMatchObject({
      login: { file: expect.stringMatching(/%d\/nats\.password$/) as string },
      tls: { caFile: '/etc/batchmill/nats-ca.pem' },
    });
    expect([...lines('ReadWritePaths', dropIn), ...lines('RequiresMountsFor', dropIn)]).toEqual([
      settings.stateDir,
      settings.stateDir,
    ]);
    expect(lines('StateDirectory', unit).map((name) => `/var/lib/${name}`)).toEqual([settings.localDir]);
    expect(lines('LoadCredential', dropIn)).toEqual(['nats.password:/etc/batchmill/nats.password']);
    const shown = text('deploy/README.md');
    expect(shown).toContain('install -m 0600 nats.password /etc/batchmill/');
    // The service's user reads it, who is not root.
    expect(shown).toContain('install -m 0644 ca.pem /etc/batchmill/nats-ca.pem');
    expect(shown).toContain(`install -d -m 0700 -o batchmill -g batchmill ${settings.stateDir}`);
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
  const whole = [
    ...['base/namespace.yaml', 'base/coordinator.yaml', 'base/workers.yaml', 'gpu/workers-gpu.yaml'],
    'standby/coordinator-state.yaml',
  ];
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

  it('a standby has its settings, a volume that all share and one of its own', () => {
    const set = parse(text('deploy/kubernetes/standby/coordinator-standby.yaml')) as StatefulSet;
    const [base] = parseAllDocuments(text('deploy/kubernetes/base/coordinator.yaml'));
    const [own] = set.spec.template.spec.containers;
    const [alone] = (base?.toJS() as StatefulSet).spec.template.spec.containers;
    expect(own?.args).toEqual(['coordinator', 'start', '--standby']);
    const image = variables(
      text('deploy/container/Dockerfile').replaceAll(/ (?=BATCHMILL_)/g, '\n'),
      /^(BATCHMILL_\w+)=(\S+)$/gm,
    );
    const given = Object.fromEntries((own?.env ?? []).map(({ name, value }) => [name, value]));
    const settings = coordinatorSettings({ standby: true }, { ...image, ...given });
    expect(settings).toMatchObject(standbySettings);
    const volumeOf = (path: string): string | undefined =>
      [...(own?.volumeMounts ?? []), ...(alone?.volumeMounts ?? [])].find(
        ({ mountPath }) => path === mountPath || dirname(path) === mountPath,
      )?.name;
    const { volumes = [] } = set.spec.template.spec;
    const shared = volumes.find(({ name }) => name === volumeOf(settings.stateDir));
    const claim = parse(text('deploy/kubernetes/standby/coordinator-state.yaml')) as Claim;
    expect(shared?.persistentVolumeClaim?.claimName).toBe(claim.metadata.name);
    expect(claim.spec.accessModes).toEqual(['ReadWriteMany']);
    const locals = set.spec.volumeClaimTemplates ?? [];
    expect(locals.map(({ metadata }) => metadata.name)).toEqual([volumeOf(settings.localDir ?? '')]);
    // With names that the secret has as README makes it.
    const files = [(settings.nats.login as { readonly file: string }).file, settings.nats.tls?.caFile ?? ''];
    expect(files.map(volumeOf)).toEqual(['nats', 'nats']);
    expect(text('deploy/README.md')).toContain(
      `secret generic batchmill-nats --from-file=${basename(files[0] ?? '')}=nats.password --from-file=${basename(files[1] ?? '')}`,
    );
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

interface Claim {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly accessModes: readonly string[] };
}

interface StatefulSet {
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly containers: readonly {
          readonly args?: readonly string[];
          readonly env?: readonly { readonly name: string; readonly value: string }[];
          readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
        }[];
        readonly volumes?: readonly {
          readonly name: string;
          readonly persistentVolumeClaim?: { readonly claimName: string };
        }[];
      };
    };
    readonly volumeClaimTemplates?: readonly Claim[];
  };
}

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
