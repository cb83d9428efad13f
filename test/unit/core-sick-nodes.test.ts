import { describe, expect, it } from 'vitest';
import { incarnation, nodeName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { newLedger, type Job } from '../../coordinator/core/ledger.ts';
import { imageOf, restoreImage } from '../../coordinator/core/ledger-image.ts';
import { decodeImage, encodeImage } from '../../coordinator/journal/image-bytes.ts';
import { waitingReason } from '../../coordinator/views/job-view.ts';
import { nodeViews } from '../../coordinator/views/node-view.ts';
import { ledgerDigest } from '../helpers/ledger-digest.ts';
import { failing } from '../helpers/failing.ts';
import { Harness } from '../helpers/ledger-harness.ts';

const one = { miniBatchSize: { kind: 'files', files: 1 }, triesMax: 2 } as const;
const sickMin = limits.sickNodeMiniBatchesMin;

/** Two nodes that have scored something, and many mini-batches of one file to go. */
function cluster(settings: Parameters<Harness['submit']>[0] = {}): { h: Harness; sick: NodeName; well: NodeName } {
  const h = new Harness()
    .submit({ ...one, ...settings })
    .list(...Array.from({ length: 100 }, () => 1))
    .endList();
  const [sick, well] = [h.node('sick', 1), h.node('well', 1)];
  for (const { node, token } of h.takeOf('grant')) h.commit(node, token);
  return { h, sick, well };
}

function grant(h: Harness, node: NodeName): Token {
  h.take();
  h.give({ kind: 'want', node, leases: 1 });
  const [token] = h.grants();
  expect(token).toBeDefined();
  return token as Token;
}

/** As many mini-batches fail on `sick` as on `well` are scored. */
function sicken(h: Harness, sick: NodeName, well: NodeName, count: number, code = 'SCORER_CRASHED' as const): void {
  for (let index = 0; index < count; index += 1) {
    h.commit(well, grant(h, well));
    h.fail(sick, grant(h, sick), code);
  }
}

describe('a node on which different mini-batches fail that others score', () => {
  it('is quarantined, its leases go back, and nothing more is granted to it', () => {
    const { h, sick, well } = cluster();
    sicken(h, sick, well, sickMin);
    expect(h.job.sick.size).toBe(0);
    h.commit(well, grant(h, well));
    const [last, held] = [grant(h, sick), grant(h, sick)];
    h.take();
    h.fail(sick, last, 'SCORER_CRASHED');
    expect(h.takeOf('revoke')).toEqual([{ kind: 'revoke', node: sick, token: held }]);
    expect(h.job.sick.get(sick)?.reason.message).toMatch(
      /^6 different mini-batches failed on worker node sick while other nodes scored 5; the last one: SCORER_CRASHED$/,
    );
    h.give({ kind: 'want', node: sick, leases: 5 });
    h.pass(1_000);
    expect(h.takeOf('grant')).toEqual([]);
    expect(nodeViews(h.ledger).find(({ name }) => name === sick)).toMatchObject({
      state: 'quarantined',
      quarantines: [{ job: 'job' }],
    });
    expect(waitingReason(h.ledger, h.job)).not.toMatch(/quarantined/);
    h.give({ kind: 'disconnected', node: well });
    expect(waitingReason(h.ledger, h.job)).toMatch(/^every worker node that is connected is quarantined \(sick\)/);
  });

  it('holds nothing against the files that it failed', () => {
    const { h, sick, well } = cluster();
    sicken(h, sick, well, sickMin + 1);
    expect(h.job.sick.has(sick)).toBe(true);
    const { batches } = h.job;
    for (let batch = 0; batch < batches.count; batch += 1) {
      expect([batches.failures(batch), batches.crashes(batch), batches.lostLeases(batch)]).toEqual([0, 0, 0]);
    }
    expect(h.job.failures).toEqual([]);
  });

  it('stays so after a restart, until it joins as another process', () => {
    const { h, sick, well } = cluster();
    sicken(h, sick, well, sickMin + 1);
    const next = h.restart();
    next.pass(limits.restartGraceMs + 400);
    next.node('sick', 3);
    expect(next.takeOf('grant')).toEqual([]);
    next.give({ kind: 'disconnected', node: sick });
    next.join('sick', 'sick/2');
    next.give({ kind: 'hello', node: sick, held: [] });
    next.give({ kind: 'want', node: sick, leases: 1 });
    expect(next.takeOf('grant')).toHaveLength(1);
    expect(next.restart().job.sick.size).toBe(0);
  });

  it('is known from a snapshot of the journal, with what makes a node suspect', () => {
    const { h, sick, well } = cluster();
    const restored = (): Job | undefined => {
      const ledger = newLedger({ heartbeatMs: 5_000 });
      restoreImage(ledger, decodeImage(Buffer.concat([...encodeImage(imageOf(h.ledger))])));
      expect(ledgerDigest(ledger, { withCursor: true })).toEqual(ledgerDigest(h.ledger, { withCursor: true }));
      return ledger.jobs.get(h.job.name);
    };
    sicken(h, sick, well, 3);
    expect(restored()?.health.get(sick)?.score).toBe(3);
    sicken(h, sick, well, sickMin - 2);
    expect(restored()?.sick.get(sick)?.incarnation).toBe('sick/1');
  });

  it('is granted work again when the job has ended and goes on', () => {
    const { h, sick, well } = cluster();
    sicken(h, sick, well, sickMin + 1);
    h.give({ kind: 'cancel', job: h.job.name, wallMs: 0, graceMs: 0 });
    h.give({ kind: 'sealed', job: h.job.name, wallMs: 0 });
    const { name, deployment, reopenings } = h.job;
    h.give({ kind: 'reopen', job: name, scope: 'rest', deployment, reopenings, recut: null });
    expect([h.job.sick.size, h.job.health.size, h.job.avoided.size]).toEqual([0, 0, 0]);
    expect(grant(h, sick)).toBeDefined();
  });

  it('is released by an operator, who is told when there is nothing to release', () => {
    const { h, sick, well } = cluster();
    sicken(h, sick, well, sickMin + 1);
    h.give({ kind: 'want', node: sick, leases: 1 });
    h.take();
    h.give({ kind: 'order-node', node: sick, order: { kind: 'release' }, by: 'ada', wallMs: 0 });
    expect(h.takeOf('grant').map(({ node }) => node)).toEqual([sick]);
    expect(() =>
      h.give({ kind: 'order-node', node: sick, order: { kind: 'release' }, by: 'ada', wallMs: 0 }),
    ).toThrowError(failing('REQUEST_INVALID', 'worker node sick is not quarantined'));
  });

  it.each(['SCORER_TIMEOUT', 'DISK_FULL'] as const)('is found by %s too', (code) => {
    const { h, sick, well } = cluster();
    sicken(h, sick, well, sickMin + 1, code as 'SCORER_CRASHED');
    expect(h.job.sick.has(sick)).toBe(true);
  });

  it('is found by hosts that do not start there', () => {
    const { h, sick } = cluster();
    const failure = { code: 'ENVIRONMENT_BUILD_FAILED', message: 'no compiler', detail: '' } as const;
    for (let index = 1; index <= limits.sickNodeInitFailures; index += 1) {
      expect(h.job.sick.size).toBe(0);
      h.give({ kind: 'host-failed', node: sick, job: h.job.name, failure, wallMs: 0 });
    }
    expect(h.job.sick.get(sick)?.reason.message).toMatch(/did not start on worker node sick 5 times/);
  });
});

describe('a node is not quarantined', () => {
  it('for ordinary errors', () => {
    const { h, sick, well } = cluster();
    sicken(h, sick, well, 12, 'SCORER_FAILED' as 'SCORER_CRASHED');
    expect([h.job.sick.size, h.job.health.size]).toEqual([0, 0]);
  });

  it('for mini-batches that fail on other nodes too', () => {
    const { h, sick, well } = cluster();
    for (let index = 0; index < 8; index += 1) {
      h.commit(well, grant(h, well));
      h.fail(sick, grant(h, sick), 'SCORER_CRASHED');
      h.pass(1_000);
      h.fail(well, grant(h, well), 'SCORER_CRASHED');
      h.pass(1_000);
    }
    expect(h.job.sick.size).toBe(0);
  });

  it('when most of what it does succeeds, and when it is the last', () => {
    const { h, sick, well } = cluster();
    for (let index = 0; index < 8; index += 1) {
      sicken(h, sick, well, 1);
      h.commit(sick, grant(h, sick));
    }
    expect(h.job.sick.size).toBe(0);
    sicken(h, sick, well, sickMin - 1);
    h.give({ kind: 'disconnected', node: well });
    for (let index = 0; index < 4; index += 1) h.fail(sick, grant(h, sick), 'SCORER_CRASHED');
    expect(h.job.sick.size).toBe(0);
  });
});

describe('a node that has scored nothing while others have', () => {
  it('uses up no try of a file, for some time', () => {
    const { h } = cluster({ triesMax: 1 });
    const fresh = h.node('fresh', 0);
    const token = grant(h, fresh);
    const { batch } = h.ledger.leases.get(token.counter) as { batch: number };
    h.fail(fresh, token, 'SCORER_CRASHED');
    expect([h.job.batches.state(batch), h.job.batches.failures(batch), h.job.failures]).toEqual(['waiting', 0, []]);
  });

  it('but does when it is all there is', () => {
    const h = new Harness()
      .submit({ ...one, triesMax: 1 })
      .list(1, 1)
      .endList();
    const node = h.node('only', 1);
    h.fail(node, h.grants()[0] as Token, 'SCORER_CRASHED');
    expect(h.job.failures).toHaveLength(1);
    expect(incarnation('only/1')).toBe(h.ledger.nodes.get(nodeName('only'))?.incarnation);
  });
});
