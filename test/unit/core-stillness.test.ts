import { describe, expect, it } from 'vitest';
import type { DeploymentSettings } from '../../common/core/deployment.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { progressTimeoutMs } from '../../coordinator/core/stillness.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';

const limitMs = 60_000;

/** Mini-batches of one file, two of them on node `a`, which has begun with the first. */
function begun(given: Partial<DeploymentSettings> = {}): { h: Harness; a: NodeName; tokens: readonly Token[] } {
  const h = new Harness().submit({
    miniBatchSize: { kind: 'files', files: 1 },
    progressTimeoutMs: limitMs,
    timeoutMs: 3_600_000,
    ...given,
  });
  h.list(...files(4)).endList();
  const a = h.node('a', 2);
  const tokens = h.grants();
  h.give({ kind: 'started', node: a, tokens: tokens.slice(0, 1) });
  return { h, a, tokens };
}

/** Time passes while these nodes give signs of life. */
function live(h: Harness, ms: number, ...nodes: readonly NodeName[]): void {
  for (let left = ms; left > 0; left -= 1_000) {
    h.pass(Math.min(left, 1_000));
    for (const node of nodes) {
      const leases = h.ledger.nodes.get(node)?.leases ?? [];
      h.heartbeat(
        node,
        [...leases].map((counter) => ({ epoch: h.ledger.epoch, counter })),
      );
    }
  }
}

const failure = { code: 'DISK_FULL', message: 'no room', detail: '' } as const;

describe('a job of which no attempt ends', () => {
  it('fails after its time and not before, and says since when, what, where and where the logs are', () => {
    const { h, a } = begun();
    live(h, limitMs, a);
    expect(h.job.state).toBe('Running');
    live(h, 1_000, a);
    expect([h.job.state, h.job.error?.code]).toEqual(['Failed', 'NO_PROGRESS']);
    const { message } = h.job.error ?? { message: '' };
    expect(message).toContain('no attempt has ended since 1970-01-01T00:00:00.000Z');
    expect(message).toContain('longer than the 60 s of progress_update_timeout');
    expect(message).toContain('being scored: file 0 on a; what they printed is in /out/_logs');
    expect(h.takeOf('revoke').length).toBe(2);
    expect(h.ledger.leases.size).toBe(0);
  });

  it('is given the time of all its tries when nothing else is said', () => {
    const { h, a } = begun({ progressTimeoutMs: null, triesMax: 2, timeoutMs: 10_000 });
    live(h, 50_000, a);
    expect(h.job.state).toBe('Running');
    live(h, 1_000, a);
    expect(h.job.error?.code).toBe('NO_PROGRESS');
    // The settings of a job that an older release has journaled.
    expect(progressTimeoutMs({ triesMax: 3, timeoutMs: 30_000 })).toBe(120_000);
  });
});

describe('a job with a shadow', () => {
  it('is given the time beside that the shadow may take', () => {
    const settings = { progressTimeoutMs: limitMs, timeoutMs: 20_000 };
    const h = new Harness().submitWithShadow(settings);
    h.list(...files(4)).endList();
    const a = h.node('a', 1);
    h.give({ kind: 'started', node: a, tokens: h.grants() });
    live(h, limitMs + 20_000 + limits.hostInitMsMax, a);
    expect(h.job.state).toBe('Running');
    live(h, 1_000, a);
    expect(h.job.error?.code).toBe('NO_PROGRESS');
    expect(h.job.error?.message).toContain('680 s of progress_update_timeout with what its shadow may take');
  });
});

describe('the time begins anew', () => {
  it.each<[string, (h: Harness, a: NodeName, tokens: readonly Token[]) => void]>([
    ['with a result', (h, a, tokens) => h.commit(a, tokens[1] as Token)],
    ['with a failed attempt', (h, a, tokens) => h.fail(a, tokens[1] as Token, 'SCORER_FAILED')],
    ['with a timeout', (h, a, tokens) => h.fail(a, tokens[1] as Token, 'SCORER_TIMEOUT')],
  ])('%s', (_name, end) => {
    const { h, a, tokens } = begun();
    live(h, limitMs - 1_000, a);
    end(h, a, tokens);
    live(h, limitMs, a);
    expect(h.job.state).toBe('Running');
    live(h, 2_000, a);
    expect(h.job.error?.code).toBe('NO_PROGRESS');
  });

  it('when what had begun was lost with its node', () => {
    const { h, a } = begun();
    live(h, limitMs - 5_000, a);
    h.give({ kind: 'disconnected', node: a });
    h.pass(20_000);
    const b = h.node('b', 1);
    h.give({ kind: 'started', node: b, tokens: h.grants().slice(-1) });
    live(h, limitMs, b);
    expect(h.job.state).toBe('Running');
    live(h, 2_000, b);
    expect(h.job.error?.message).toContain('on b;');
  });
});

describe('time does not count', () => {
  const never = ({ h, a }: { h: Harness; a: NodeName }): void => {
    live(h, 10 * limitMs, a);
    expect(h.job.state).toBe('Running');
  };

  it('while nothing has begun, however long inputs take', () => {
    const h = new Harness().submit({ progressTimeoutMs: limitMs }).list(1, 1).endList();
    never({ h, a: h.node('a', 1) });
  });

  it('for a lease that is not the node’s', () => {
    const h = new Harness().submit({ progressTimeoutMs: limitMs }).list(1, 1).endList();
    const a = h.node('a', 1);
    const b = h.node('b');
    h.give({ kind: 'started', node: b, tokens: h.grants() });
    live(h, 10 * limitMs, a, b);
    expect(h.job.state).toBe('Running');
  });

  it('while a large result is on its way', () => {
    const { h, a, tokens } = begun();
    h.give({ kind: 'upload-began', node: a, token: tokens[0] as Token });
    never({ h, a });
  });

  it('while a result is being written', () => {
    const { h, a, tokens } = begun();
    h.result(a, tokens[0] as Token);
    never({ h, a });
  });

  it.each<[string, (h: Harness, isOn: boolean) => void]>([
    ['while the journal has no room', (h, on) => h.give({ kind: 'stall', job: null, failure: on ? failure : null })],
    ['while the output has no room', (h, on) => h.give({ kind: 'stall', job, failure: on ? failure : null })],
    [
      'while another node builds the environment',
      (h, on) => {
        const node = h.ledger.nodes.has('b' as NodeName) ? ('b' as NodeName) : h.node('b');
        h.give({ kind: 'preparing', node, job, text: on ? 'installing packages' : '' });
      },
    ],
  ])('%s, and what came before does', (_name, pause) => {
    const { h, a } = begun();
    const b = 'b' as NodeName;
    live(h, limitMs - 10_000, a);
    pause(h, true);
    live(h, 10 * limitMs, a, ...(h.ledger.nodes.has(b) ? [b] : []));
    expect(h.job.state).toBe('Running');
    pause(h, false);
    live(h, 9_000, a);
    expect(h.job.state).toBe('Running');
    live(h, 3_000, a);
    expect(h.job.error?.code).toBe('NO_PROGRESS');
  });

  it('while no node is there that has begun anything', () => {
    const { h, a } = begun({ progressTimeoutMs: 15_000 });
    live(h, 1_000, a);
    // Silent, and not given up yet: the lease lasts for 30 s.
    h.pass(20_000);
    expect([h.job.state, h.ledger.leases.size]).toEqual(['Running', 2]);
  });

  it('while the coordinator stands still', () => {
    const { h, a } = begun();
    live(h, 1_000, a);
    h.now += 10 * limitMs;
    h.give({ kind: 'tick', stallMs: 10 * limitMs, wallMs: 0 });
    live(h, limitMs - 5_000, a);
    expect(h.job.state).toBe('Running');
  });
});

it('says nothing on the way: one note when it begins to count, none while it does', () => {
  const { h, a } = begun();
  live(h, limitMs - 1_000, a);
  expect(h.published.filter(({ kind }) => kind === 'StillnessNoted')).toHaveLength(1);
});
