/** The NATS servers of deploy/nats, run as an operator is told to, with the coordinators that they are for. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { connect } from '@nats-io/transport-node';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { limits } from '../../common/core/limits.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { packageFile } from '../../common/io/package-files.ts';
import { NatsStream } from '../../coordinator/journal/stream/nats-stream.ts';
import { ClusterProcesses } from '../helpers/cluster-processes.ts';
import { DeployedNats, natsPasswords, natsProgram, writeAccounts } from '../helpers/deployed-nats.ts';
import { scorersDir, writeInputs } from '../helpers/job-folder.ts';
import { NatsServer } from '../helpers/nats-server.ts';
import { endPrograms } from '../helpers/programs.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'batchmill-deploy-nats-'));
});
afterEach(() => {
  rmSync(dir, { recursive: true });
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

  it('takes every password that its example makes, which is none that reads as a number', () => {
    const [, command = ''] =
      /`(echo .*)`/.exec(readFileSync(packageFile('deploy', 'nats', 'nats.env.example'), 'utf8')) ?? [];
    const { stdout } = spawnSync('bash', ['-c', command], { encoding: 'utf8' });
    expect(stdout).toMatch(/^p[0-9a-f]{48}\n$/);
    writeAccounts(join(dir, 'accounts.conf'));
    writeFileSync(join(dir, 'nats.conf'), 'include "accounts.conf"\n');
    const digits = '12e4'.padEnd(48, '0');
    const taken = (password: string): number | null => {
      const env = { ...process.env, ...natsPasswords, NATS_BATCHMILL_PASSWORD: password };
      return spawnSync(natsProgram, ['-t', '-c', join(dir, 'nats.conf')], { env }).status;
    };
    expect([stdout.trim(), `p${digits}`, digits].map(taken)).toEqual([0, 0, 1]);
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
        ...{ dir, isSecure: true, environment: nats.environment },
        more: ['--standby', '--local-dir', join(dir, 'local'), '--journal', `nats://${nats.addresses}/main?replicas=3`],
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
function healthOf(
  { http, stateDir }: ClusterProcesses,
  address = http,
): { readonly isGood: boolean; readonly said: string } {
  const environment = { ...process.env, BATCHMILL_HTTP: address, BATCHMILL_STATE_DIR: stateDir };
  const script = packageFile('deploy', 'container', 'healthy.mjs');
  const { status, stderr } = spawnSync(process.execPath, [script], {
    cwd: dirname(script),
    env: environment,
    encoding: 'utf8',
  });
  return { isGood: status === 0, said: stderr };
}
