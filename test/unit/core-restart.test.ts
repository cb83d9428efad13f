import { describe, expect, it } from 'vitest';
import { nodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import type { Token } from '../../common/core/token.ts';
import { BatchTable } from '../../coordinator/core/batch-table.ts';
import { files, Harness, job } from '../helpers/ledger-harness.ts';

/** A job of many mini-batches and these nodes, each with one lease. */
function running(...nodes: readonly string[]): { h: Harness; tokens: Map<string, Token> } {
  const h = new Harness()
    .submit()
    .list(...files(40))
    .endList();
  const tokens = new Map<string, Token>();
  for (const name of nodes) {
    h.node(name, 1);
    const [token] = h.grants();
    if (token) tokens.set(name, token);
  }
  return { h, tokens };
}

function heldOf(h: Harness, token: Token | undefined) {
  const lease = token && h.ledger.leases.get(token.counter);
  if (!lease) throw new Error('no such lease');
  return { token: lease.token, job, first: h.job.batches.first(lease.batch), count: 2 };
}

describe('after a restart grants wait', () => {
  it('for all nodes that were there, and not a moment longer', () => {
    const { h, tokens } = running('a', 'b');
    const next = h.restart();
    next.take();
    next.node('a', 2, { held: [heldOf(h, tokens.get('a'))] });
    expect(next.takeOf('grant')).toEqual([]);
    next.node('b', 1, { held: [heldOf(h, tokens.get('b'))] });
    // Without a tick: the last one that says hello ends the wait.
    expect(next.takeOf('grant').map(({ range }) => range.first)).toEqual([4, 6, 8]);
  });

  it('for the grace when one does not come back, and it is not waited for again', () => {
    const { h } = running('a', 'b');
    const next = h.restart();
    next.node('a', 1);
    next.pass(limits.restartGraceMs - limits.tickMs);
    expect(next.takeOf('grant')).toEqual([]);
    next.pass(limits.tickMs);
    expect(next.takeOf('grant')).toHaveLength(1);
    expect(next.journal.at(-1)).toEqual({ kind: 'NodeUnknown', node: 'b' });
    const last = next.restart();
    last.node('a', 1);
    expect(last.takeOf('grant')).toHaveLength(1);
  });

  it('for nobody when nobody was there', () => {
    const next = running().h.restart();
    next.node('new', 1);
    expect(next.takeOf('grant')).toHaveLength(1);
  });

  it('for the grace when the journal is of a release that did not tell who was there', () => {
    const { h } = running('a');
    const old = h.journal.filter(({ kind }) => kind !== 'NodeKnown');
    const told = old.map((event) => (event.kind === 'EpochBegan' ? { kind: event.kind, epoch: event.epoch } : event));
    const next = new Harness(told, 2);
    next.node('a', 1);
    expect(next.takeOf('grant')).toEqual([]);
    next.pass(limits.restartGraceMs);
    expect(next.takeOf('grant')).toHaveLength(1);
  });
});

describe('the journal knows of a node', () => {
  const told = (h: Harness): string =>
    h.journal
      .flatMap((event) => (event.kind === 'NodeKnown' || event.kind === 'NodeUnknown' ? [event] : []))
      .map(({ kind, node }) => `${node} ${kind === 'NodeKnown' ? 'came' : 'went'}`)
      .join(', ');

  it('when it says hello for the first time, and when it leaves', () => {
    const h = new Harness();
    const a = h.node('a');
    h.give({ kind: 'disconnected', node: a });
    h.give({ kind: 'hello', node: a, held: [] });
    h.give({ kind: 'leaving', node: a });
    expect(told(h)).toBe('a came');
    h.give({ kind: 'disconnected', node: a });
    expect(told(h)).toBe('a came, a went');
  });

  it('when it is lost and heard again', () => {
    const h = new Harness();
    const a = h.node('a');
    h.pass(60_000);
    expect(told(h)).toBe('a came, a went');
    h.heartbeat(a, []);
    expect(told(h)).toBe('a came, a went, a came');
    expect([...h.restart().ledger.known]).toEqual([nodeName('a')]);
  });
});

describe('the ledger of a million mini-batches', () => {
  it('has columns of less than 100 bytes each, and a snapshot of no more', () => {
    const count = 1_000_000;
    const table = new BatchTable();
    for (let first = 0; first < count; first += 1) table.append({ first, count: 1 });
    expect(table.bytes / count).toBeLessThan(100);
    const columns = Object.values(table.image().columns) as readonly Uint8Array[];
    expect(columns.reduce((sum, column) => sum + column.byteLength, 0) / count).toBeLessThan(70);
  });
});

it('what comes before the epoch has begun sets nothing in motion, and the rows that wait are copied behind it', () => {
  const h = new Harness()
    .submit()
    .list(...files(4))
    .endList();
  const a = h.node('a', 2);
  const [first, second] = h.grants() as [Token, Token];
  h.commit(a, second, { length: 30 });
  h.commit(a, first, { length: 20 });
  expect(h.takeOf('copy').length).toBe(1);
  const records = h.journal.length;
  const failure = { code: 'DISK_FULL', message: 'no room', detail: '' } as const;
  const again = h.restart(records, [{ kind: 'stall', job, failure }]);
  expect(again.journal.slice(records).map(({ kind }) => kind)).toEqual(['EpochBegan']);
  expect(again.takeOf('copy')).toMatchObject([{ from: [{ length: 30 }] }]);
  again.copied();
  expect([again.job.state, again.job.outputCommitted]).toEqual(['Finalizing', h.job.outputCommitted + 30]);
});

it('a job of which no more than its submission was durable is listed and scored', () => {
  const h = new Harness().submit();
  const begun = h.journal.findIndex(({ kind }) => kind === 'JobSubmitted') + 1;
  expect(h.journal[begun]).toMatchObject({ kind: 'JobStateChanged', state: 'Preparing' });
  const again = h.restart(begun);
  expect(again.job.state).toBe('Preparing');
  again.list(...files(1)).endList();
  again.node('a', 1);
  expect(again.takeOf('grant')).toHaveLength(1);
});
